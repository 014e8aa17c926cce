import type { Sql } from '@lockstep/sql';

/** As the function of the migration announces it. */
const CHANNEL = 'lockstep_idempotency';

/** Who waits in this process for the end of a claim; the database announces each that somebody waits for, by its id. */
export class SettledPushes {
  private readonly watchers = new Map<string, Set<() => void>>();
  private listening: Promise<unknown> | undefined;

  constructor(private readonly sql: Pick<Sql, 'listen'>) {}

  async watch(id: string, heard: () => void): Promise<() => Promise<void>> {
    await this.listen();
    const watchers = this.watchers.get(id) ?? new Set();
    this.watchers.set(id, watchers);
    // One of its own, so that the same function may watch twice.
    const watcher = (): void => heard();
    watchers.add(watcher);
    return async () => {
      watchers.delete(watcher);
      if (watchers.size === 0 && this.watchers.get(id) === watchers) this.watchers.delete(id);
    };
  }

  /** Once for the process; a failure is not remembered. */
  private async listen(): Promise<void> {
    this.listening ??= this.sql.listen(CHANNEL, (id) => this.tell(id));
    const attempt = this.listening;
    try {
      await attempt;
    } catch (error) {
      if (this.listening === attempt) this.listening = undefined;
      throw error;
    }
  }

  /** Without an id, everybody: something may have been missed. */
  private tell(id: string | undefined): void {
    const told = id === undefined ? [...this.watchers.values()] : [this.watchers.get(id) ?? []];
    for (const watchers of told) for (const heard of [...watchers]) heard();
  }
}
