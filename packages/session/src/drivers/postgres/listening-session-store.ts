import type { SessionKey, WatchableStore } from '../../session-store.js';
import type { EndedSessions } from './ended-sessions.js';
import { PostgresSessionStore } from './postgres-session-store.js';
import type { SessionDatabase } from './session-database.js';
import type { SessionEnds } from './session-ends.js';
import { WATCH } from './session-statements.js';

/** A store whose database pushes: who watches a session is told of its end, on one connection for the process. */
export class ListeningSessionStore extends PostgresSessionStore implements WatchableStore {
  constructor(
    database: SessionDatabase,
    reaper: EndedSessions,
    private readonly ends: SessionEnds,
  ) {
    super(database, reaper);
  }

  async watch({ id, group }: SessionKey, ended: () => void): Promise<() => Promise<void>> {
    // Once, and of its own, so that the same function may watch twice.
    let isTold = false;
    const watcher = (): void => {
      if (isTold) return;
      isTold = true;
      ended();
    };
    await this.ends.listen();
    // Before it is asked for: an announcement may overtake the answer, and its name is mostly this id.
    const leave = [this.ends.add(id, watcher)];
    const unwatch = async (): Promise<void> => {
      isTold = true;
      for (const each of leave) each();
    };
    try {
      const row = await this.database.step<{ name: string | null }>('session.watch', WATCH, [id, group]);
      const name = row?.name ?? undefined;
      if (name === undefined) await unwatch();
      // It was watched before it was renewed.
      else if (name !== id) leave.push(this.ends.add(name, watcher));
    } catch (error) {
      await unwatch();
      throw error;
    }
    return unwatch;
  }
}
