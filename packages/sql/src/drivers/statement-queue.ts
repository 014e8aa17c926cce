/** Runs statements of one connection one after the other, in the order in which they came, whatever the client library does. */
export class StatementQueue {
  private last: Promise<unknown> = Promise.resolve();

  /** Settles like `statement`, which starts when all before it have settled, however they did. */
  add<T>(statement: () => Promise<T>): Promise<T> {
    const turn = this.last.then(statement, statement);
    this.last = turn;
    return turn;
  }
}
