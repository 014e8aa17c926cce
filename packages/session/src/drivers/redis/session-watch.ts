import type { SessionKey } from '../../session-store.js';

export interface WatchedStore {
  subscribe(key: SessionKey, heard: (message: string) => void, again: () => void): Promise<() => Promise<void>>;
  /** Where the session is by now; undefined where it has ended. */
  find(key: SessionKey): Promise<SessionKey | undefined>;
  /** Following a renewal, or looking again, failed: an end may be missed. */
  failed(cause: unknown): void;
}

/**
 * Hears of the end of one session, also when its id is renewed: then it goes on under the new one.
 *
 * ```
 * idle --follow--> listening --renewed--> listening to the successor --ended | stop--> over
 * ```
 */
export class SessionWatch {
  private leaveChannel: (() => Promise<void>) | undefined;
  private followed: string | undefined;
  private isOver = false;

  constructor(
    private readonly store: WatchedStore,
    private readonly ended: () => void,
  ) {}

  async follow(key: SessionKey): Promise<void> {
    if (this.isOver || this.followed === key.id) return;
    this.followed = key.id;
    const leave = await this.store.subscribe(
      key,
      (message) => this.inBackground(message === '' ? this.end() : this.renewed({ ...key, id: message })),
      () => this.inBackground(this.lookAgain(key)),
    );
    const former = this.leaveChannel;
    this.leaveChannel = leave;
    await former?.();
    if (this.isOver) await leave();
  }

  async stop(): Promise<void> {
    this.isOver = true;
    await this.leaveChannel?.();
  }

  private async renewed(key: SessionKey): Promise<void> {
    await this.follow(key);
    // What happened before the new channel was heard was missed.
    await this.lookAgain(key);
  }

  private async lookAgain(key: SessionKey): Promise<void> {
    const found = await this.store.find(key);
    if (!found) return this.end();
    if (found.id !== key.id) await this.renewed(found);
  }

  private async end(): Promise<void> {
    if (this.isOver) return;
    this.isOver = true;
    this.ended();
    await this.leaveChannel?.();
  }

  private inBackground(work: Promise<void>): void {
    work.catch((cause) => this.store.failed(cause));
  }
}
