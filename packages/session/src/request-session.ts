import { setTimeout as sleep } from 'node:timers/promises';
import type { Principal } from '@lockstep/core';
import { ClientToken } from './http/client-token.js';
import { type GatedSession, ResponseGate } from './http/response-gate.js';
import type { HeadChanges, Presented } from './http/session-transport.js';
import type { ProvenToken } from './keeping/session-keeping.js';
import { SessionContendedError, SessionEndedError, SessionMisuseError } from './session.errors.js';
import { type AttributeChanges, checkName } from './session-attributes.js';
import type { LoginOptions, SessionRef } from './session-ref.js';
import { type SessionOccasion, type SessionRuntime, SessionState } from './session-state.js';
import type { SessionKey } from './session-store.js';
import { checkedPrincipal } from './user/checked-principal.js';

const NO_CHANGES: AttributeChanges = { set: new Map(), remove: [] };
const MOST_ATTEMPTS = 16;
/** Those who meet at one attribute try again after pauses that grow, each at a moment of its own. */
const FIRST_PAUSE_MS = 2;
const LONGEST_PAUSE_MS = 100;

/**
 * The session of one request.
 *
 * ```
 * blank --token recognised, load--> loaded | blank (ended, never been) | unavailable
 * blank --set, saved--> loaded (created)          blank --login--> loaded
 * loaded --set--> changed --answer | save()--> loaded | ended (somebody else ended it: the changes are dropped)
 * loaded --login, rotate--> loaded, under another token
 * loaded --logout--> blank, and the client is told to forget its token
 * unavailable: reads as a visitor's; whatever would write is refused, and the token is left alone
 * ```
 * Only `logout` takes the client's token away: a request that was slow must not delete the cookie that a login set
 * meanwhile (H8).
 */
export class RequestSession implements SessionRef, GatedSession {
  private readonly state: SessionState;
  private gate: ResponseGate | undefined;
  private readonly client: ClientToken;
  private refusedBy: Error | undefined;
  private readonlyBy: Error | undefined;

  constructor(
    private readonly runtime: SessionRuntime,
    private readonly occasion: SessionOccasion,
  ) {
    this.state = new SessionState(runtime, occasion);
    this.client = new ClientToken(runtime, occasion.request);
  }

  get exists(): boolean {
    return this.state.kept !== undefined;
  }

  get handle(): string | undefined {
    return this.state.kept?.record.key.id;
  }

  get principal(): Principal | undefined {
    return this.state.loggedIn?.principal;
  }

  get loggedInAt(): Date | undefined {
    const at = this.loggedInAtMs;
    return at === undefined ? undefined : new Date(at);
  }

  get amr(): readonly string[] {
    return this.state.loggedIn?.amr ?? [];
  }

  get createdAt(): Date | undefined {
    return this.state.kept && new Date(this.state.kept.record.createdAt);
  }

  get expiresAt(): Date | undefined {
    return this.state.kept && new Date(this.state.kept.record.expiresAt);
  }

  get names(): readonly string[] {
    this.assertReadable();
    return this.state.attributes.names();
  }

  /** How long ago the login was when the session was read, by the store's clock; undefined for a session of nobody. */
  get loginAgeMs(): number | undefined {
    const at = this.loggedInAtMs;
    return at === undefined || !this.state.kept ? undefined : Math.max(this.state.kept.record.readAt - at, 0);
  }

  /** Where it is kept. */
  get key(): SessionKey | undefined {
    return this.state.kept?.record.key;
  }

  /** The group of its user's sessions. */
  get group(): string | undefined {
    return this.state.kept?.record.key.group;
  }

  get<T = unknown>(name: string): T | undefined {
    this.assertReadable();
    const value = this.state.attributes.get(name);
    // It may be changed in place, and nobody would tell.
    if (typeof value === 'object' && !this.refusedBy && !this.readonlyBy) this.arm();
    return value as T | undefined;
  }

  has(name: string): boolean {
    this.assertReadable();
    return this.state.attributes.has(name);
  }

  set(name: string, value: unknown): void {
    this.assertWritable();
    this.assertNotEnded('session.set');
    this.state.assertTellable();
    this.state.attributes.set(name, value);
    this.arm();
  }

  delete(name: string): void {
    this.assertWritable();
    this.assertNotEnded('session.delete');
    if (this.state.kept) this.state.assertTellable();
    this.state.attributes.delete(name);
    this.arm();
  }

  clear(): void {
    for (const name of this.names) this.delete(name);
  }

  async update<T = unknown>(
    name: string,
    fn: (value: T | undefined) => T | undefined | Promise<T | undefined>,
  ): Promise<T | undefined> {
    this.assertWritable();
    checkName(name);
    return this.state.inTurn(async () => {
      await this.state.saveNow();
      for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt += 1) {
        // Before `fn` waits for anything: what is stored may be looked at again meanwhile.
        const revision = this.state.attributes.revision(name);
        const before = this.state.attributes.fresh(name) as T | undefined;
        const value = await this.state.compute(() => fn(before));
        if (!(await this.state.tryUpdate(name, value, revision))) {
          await sleep(Math.random() * Math.min(FIRST_PAUSE_MS * 2 ** attempt, LONGEST_PAUSE_MS));
          continue;
        }
        // It may have begun the session, or be in the token itself.
        this.arm();
        return value;
      }
      throw new SessionContendedError(MOST_ATTEMPTS);
    });
  }

  async save(): Promise<void> {
    this.assertWritable();
    await this.state.inTurn(() => this.state.saveNow());
  }

  async reload(): Promise<void> {
    this.assertReadable();
    await this.state.inTurn(async () => {
      const kept = this.state.kept && (await this.state.look(this.state.kept, true));
      this.state.forgetChanges();
      if (!this.state.kept) return;
      if (kept && this.state.isReadable(kept)) this.state.hold(kept);
      else this.state.noteEnd();
    });
  }

  async login(user: Principal, options: LoginOptions = {}): Promise<void> {
    this.assertWritable();
    this.state.assertHeadOpen('log in');
    const principal = checkedPrincipal(user);
    const { amr = [], keepAttributes = true } = options;
    const moved = this.state.move(async () => {
      if (this.state.kept && keepAttributes) await this.state.saveNow();
      if (!keepAttributes) this.state.forgetChanges();
      const changes = this.state.kept ? NO_CHANGES : this.state.attributes.send(this.state.attributes.changes());
      const kept = await this.runtime.keeping.login({
        from: this.state.kept,
        user: { principal, amr, at: undefined },
        keepAttributes,
        attributes: changes.set,
        meta: this.runtime.metaOf(this.occasion.request),
      });
      if (kept === 'gone') this.state.throwEnded('session.login');
      this.state.attributes.settle(changes, kept.record.attributes);
      this.client.isLoggedOut = false;
      this.state.isEnded = false;
      this.state.hold(kept);
    });
    this.arm();
    await moved;
  }

  async logout(): Promise<void> {
    this.assertWritable();
    if (this.state.kept && this.runtime.keeping.isInToken) this.state.assertTellable();
    const moved = this.state.move(async () => {
      if (this.state.kept) await this.runtime.keeping.end(this.state.kept);
      this.client.isLoggedOut = this.client.held !== undefined;
      this.state.isEnded = false;
      this.state.forget();
    });
    this.arm();
    await moved;
  }

  async rotate(): Promise<void> {
    this.assertWritable();
    this.state.assertHeadOpen('take a new id');
    const moved = this.state.move(async () => {
      await this.state.saveNow();
      if (!this.state.kept) return;
      const kept = await this.runtime.keeping.rotate(this.state.kept);
      if (kept === 'gone') this.state.throwEnded('session.rotate');
      this.state.hold(kept);
    });
    this.arm();
    await moved;
  }

  /** Finds the session that the client's tokens lead to. */
  async load(presented: Presented, tokens: readonly ProvenToken[]): Promise<void> {
    this.client.present(presented);
    const { keeping } = this.runtime;
    for (const proven of tokens) {
      const { token } = proven;
      const kept = await proven.load();
      if (!kept || !this.state.isReadable(kept)) continue;
      this.client.held = token;
      const renewed = this.occasion.response ? await keeping.renewIfDue(kept) : kept;
      this.state.hold(renewed);
      if (renewed.token !== token || this.client.isDoubled) this.arm();
      return;
    }
    // It has ended, yet the client may hold a newer one by the time of the answer: nothing is cleared.
    this.client.held = tokens[0]?.token;
  }

  /**
   * Whether the session is still at the store, for what outlives its request. Does not wait for its turn: an `update`
   * may take long.
   */
  isStillThere(looksOnly: boolean): Promise<boolean> {
    return this.state.isStillThere(looksOnly);
  }

  /** Why whose session it is cannot be told; undefined where it can. */
  get refusal(): Error | undefined {
    return this.refusedBy;
  }

  /** From here on it reads as a visitor's, and refuses to be written. */
  refuseWrites(error: Error): void {
    this.refusedBy = error;
  }

  /** From here on it refuses to be written, and what is changed in place is not noticed. */
  makeReadonly(error: Error): void {
    this.readonlyBy = error;
  }

  hasChanges(): boolean {
    return !this.refusedBy && !this.readonlyBy && this.state.hasChanges();
  }

  commit(): Promise<void> {
    return this.state.inTurn(() => this.state.saveNow({ isAnswer: true }));
  }

  headChanges(): HeadChanges {
    return this.client.headChanges(this.state.kept);
  }

  private get loggedInAtMs(): number | undefined {
    return this.state.loggedIn && (this.state.loggedIn.at ?? this.state.kept?.record.createdAt);
  }

  private arm(): void {
    const { response } = this.occasion;
    if (!response) return;
    this.gate ??= new ResponseGate(response, this, this.runtime.incidents);
    this.gate.noteChange();
  }

  private assertReadable(): void {
    if (this.refusedBy instanceof SessionMisuseError) throw this.refusedBy;
  }

  private assertWritable(): void {
    const error = this.refusedBy ?? this.readonlyBy;
    if (error) throw error;
  }

  /** What is set would be dropped, and nobody would tell. */
  private assertNotEnded(operation: string): void {
    if (this.state.isEnded) throw new SessionEndedError(operation);
  }
}
