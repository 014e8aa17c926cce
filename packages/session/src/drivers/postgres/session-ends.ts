import type { Sql } from '@lockstep/sql';

/** As the functions of the migration announce it. */
const CHANNEL = 'lockstep_session';

/** Who waits in this process for the end of a session. The database announces each that somebody watches, by a name. */
export class SessionEnds {
  private readonly watchers = new Map<string, Set<() => void>>();
  private listening: Promise<unknown> | undefined;

  constructor(private readonly sql: Pick<Sql, 'listen'>) {}

  /** Once for the process; a failure is not remembered. */
  async listen(): Promise<void> {
    this.listening ??= this.sql.listen(CHANNEL, (name) => this.tell(name));
    const attempt = this.listening;
    try {
      await attempt;
    } catch (error) {
      if (this.listening === attempt) this.listening = undefined;
      throw error;
    }
  }

  /** Returns the function that ends it. */
  add(name: string, ended: () => void): () => void {
    const watchers = this.watchers.get(name) ?? new Set();
    this.watchers.set(name, watchers.add(ended));
    return () => {
      watchers.delete(ended);
      if (watchers.size === 0 && this.watchers.get(name) === watchers) this.watchers.delete(name);
    };
  }

  /** Without a name, something may have been missed, which ends nobody's session. */
  private tell(name: string | undefined): void {
    if (name === undefined) return;
    const told = this.watchers.get(name) ?? [];
    this.watchers.delete(name);
    for (const ended of [...told]) ended();
  }
}
