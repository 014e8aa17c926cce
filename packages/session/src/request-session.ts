import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Incidents, Listeners, Principal, RequestContext } from '@lockstep/core';
import { hasHeadLeft } from './http/gated-response.js';
import { type GatedSession, ResponseGate } from './http/response-gate.js';
import type { HeadChanges, Presented, SessionTransport } from './http/session-transport.js';
import {
  decodeLogin,
  type KeptSession,
  type LoggedIn,
  type ProvenToken,
  type SessionKeeping,
} from './keeping/session-keeping.js';
import { SessionContendedError, SessionEndedError, SessionMisuseError } from './session.errors.js';
import type { ResolvedSessionOptions } from './session.options.js';
import { type AttributeChanges, checkName, SessionAttributes } from './session-attributes.js';
import type { SessionEvent } from './session-events.js';
import type { LoginOptions, SessionRef } from './session-ref.js';
import type { SessionKey, StoredAttribute } from './session-store.js';

/** What all sessions of an application share. */
export interface SessionRuntime {
  readonly keeping: SessionKeeping;
  readonly options: ResolvedSessionOptions;
  readonly transport: SessionTransport;
  readonly events: Listeners<SessionEvent>;
  readonly incidents: Incidents;
  metaOf(request: IncomingMessage): string;
}

/** Whom a session serves: an HTTP request, or the upgrade to a WebSocket, which has no answer to change. */
export interface SessionOccasion {
  readonly request: IncomingMessage;
  readonly response: ServerResponse | undefined;
  readonly context: RequestContext | undefined;
}

const NOTHING: ReadonlyMap<string, StoredAttribute> = new Map();
const NO_CHANGES: AttributeChanges = { set: new Map(), remove: [] };
const MOST_ATTEMPTS = 10;

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
  private kept: KeptSession | undefined;
  private loggedIn: LoggedIn | undefined;
  private attributes: SessionAttributes;
  private gate: ResponseGate | undefined;
  /** What the client holds that has led here. */
  private held: string | undefined;
  private isLoggedOut = false;
  private isEnded = false;
  private refusedBy: Error | undefined;
  private readonlyBy: Error | undefined;
  private presented: Presented | undefined;
  private running: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly runtime: SessionRuntime,
    private readonly occasion: SessionOccasion,
  ) {
    this.attributes = this.attributesOf(NOTHING);
  }

  get exists(): boolean {
    return this.kept !== undefined;
  }

  get handle(): string | undefined {
    return this.kept?.record.key.id;
  }

  get principal(): Principal | undefined {
    return this.loggedIn?.principal;
  }

  get loggedInAt(): Date | undefined {
    const at = this.loggedInAtMs;
    return at === undefined ? undefined : new Date(at);
  }

  get amr(): readonly string[] {
    return this.loggedIn?.amr ?? [];
  }

  get createdAt(): Date | undefined {
    return this.kept && new Date(this.kept.record.createdAt);
  }

  get expiresAt(): Date | undefined {
    return this.kept && new Date(this.kept.record.expiresAt);
  }

  get names(): readonly string[] {
    this.assertReadable();
    return this.attributes.names();
  }

  /** How long ago the login was when the session was read, by the store's clock; undefined for a session of nobody. */
  get loginAgeMs(): number | undefined {
    const at = this.loggedInAtMs;
    return at === undefined || !this.kept ? undefined : Math.max(this.kept.record.readAt - at, 0);
  }

  /** Where it is kept. */
  get key(): SessionKey | undefined {
    return this.kept?.record.key;
  }

  /** The group of its user's sessions. */
  get group(): string | undefined {
    return this.kept?.record.key.group;
  }

  get<T = unknown>(name: string): T | undefined {
    this.assertReadable();
    const value = this.attributes.get(name);
    // It may be changed in place, and nobody would tell.
    if (typeof value === 'object' && !this.refusedBy && !this.readonlyBy) this.arm();
    return value as T | undefined;
  }

  has(name: string): boolean {
    this.assertReadable();
    return this.attributes.has(name);
  }

  set(name: string, value: unknown): void {
    this.assertWritable();
    this.assertNotEnded('session.set');
    this.assertTellable();
    this.attributes.set(name, value);
    this.arm();
  }

  delete(name: string): void {
    this.assertWritable();
    this.assertNotEnded('session.delete');
    if (this.kept) this.assertTellable();
    this.attributes.delete(name);
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
    return this.inTurn(async () => {
      await this.saveNow();
      for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt += 1) {
        // Before `fn` waits for anything: what is stored may be looked at again meanwhile.
        const revision = this.attributes.revision(name);
        const value = await fn(this.attributes.fresh(name) as T | undefined);
        if (await this.tryUpdate(name, value, revision)) return value;
      }
      throw new SessionContendedError(MOST_ATTEMPTS);
    });
  }

  async save(): Promise<void> {
    this.assertWritable();
    await this.inTurn(() => this.saveNow());
  }

  async reload(): Promise<void> {
    this.assertReadable();
    await this.inTurn(async () => {
      const kept = this.kept && (await this.look(this.kept, true));
      this.attributes = this.attributesOf(NOTHING);
      if (!this.kept) return;
      if (kept && this.isReadable(kept)) this.hold(kept);
      else this.noteEnd();
    });
  }

  async login(user: Principal, options: LoginOptions = {}): Promise<void> {
    this.assertWritable();
    this.assertHeadOpen('log in');
    const principal = checkedPrincipal(user);
    const { amr = [], keepAttributes = true } = options;
    await this.inTurn(async () => {
      if (this.kept && keepAttributes) await this.saveNow();
      if (!keepAttributes) this.attributes = this.attributesOf(this.kept?.record.attributes ?? NOTHING);
      const changes = this.kept ? NO_CHANGES : this.attributes.send(this.attributes.changes());
      const kept = await this.runtime.keeping.login({
        from: this.kept,
        user: { principal, amr, at: undefined },
        keepAttributes,
        attributes: changes.set,
        meta: this.runtime.metaOf(this.occasion.request),
      });
      if (kept === 'gone') this.throwEnded('session.login');
      this.attributes.settle(changes, kept.record.attributes);
      this.isLoggedOut = false;
      this.isEnded = false;
      this.hold(kept);
      this.arm();
    });
  }

  async logout(): Promise<void> {
    this.assertWritable();
    if (this.kept && this.runtime.keeping.isInToken) this.assertTellable();
    await this.inTurn(async () => {
      if (this.kept) await this.runtime.keeping.end(this.kept);
      this.isLoggedOut = this.held !== undefined;
      this.isEnded = false;
      this.forget();
      this.arm();
    });
  }

  async rotate(): Promise<void> {
    this.assertWritable();
    this.assertHeadOpen('take a new id');
    await this.inTurn(async () => {
      await this.saveNow();
      if (!this.kept) return;
      const kept = await this.runtime.keeping.rotate(this.kept);
      if (kept === 'gone') this.throwEnded('session.rotate');
      this.hold(kept);
      this.arm();
    });
  }

  /** Finds the session that the client's tokens lead to. */
  async load(presented: Presented, tokens: readonly ProvenToken[]): Promise<void> {
    this.presented = presented;
    const { keeping } = this.runtime;
    for (const proven of tokens) {
      const { token } = proven;
      const kept = await proven.load();
      if (!kept || !this.isReadable(kept)) continue;
      this.held = token;
      const renewed = this.occasion.response ? await keeping.renewIfDue(kept) : kept;
      this.hold(renewed);
      if (renewed.token !== token || this.isDoubled) this.arm();
      return;
    }
    // It has ended, yet the client may hold a newer one by the time of the answer: nothing is cleared.
    this.held = tokens[0]?.token;
  }

  /**
   * Whether the session is still at the store, for what outlives its request. Does not wait for its turn: an `update`
   * may take long.
   */
  async isStillThere(looksOnly: boolean): Promise<boolean> {
    const before = this.kept;
    if (!before) return false;
    const kept = await this.look(before, looksOnly);
    if (!kept && this.kept) this.noteEnd();
    // A save may have been faster, and knows more.
    else if (kept && this.kept === before) this.hold(kept);
    return this.kept !== undefined;
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
    if (this.refusedBy || this.readonlyBy || this.isEnded) return false;
    const { set, remove } = this.attributes.changes();
    return set.size > 0 || (remove.length > 0 && this.kept !== undefined);
  }

  commit(): Promise<void> {
    return this.inTurn(() => this.saveNow({ isAnswer: true }));
  }

  headChanges(): HeadChanges {
    const { kept, isLoggedOut } = this;
    const { transport, options } = this.runtime;
    const { via } = this.presentedNow();
    const isNew = kept !== undefined && kept.token !== this.held;
    const maxAgeMs = options.cookie?.persistent && kept ? kept.record.expiresAt - kept.record.readAt : undefined;
    const change = isNew ? { token: kept.token, maxAgeMs } : undefined;
    const told = change ?? (isLoggedOut && !kept ? { token: undefined, maxAgeMs } : undefined);
    return transport.changes(this.occasion.request, via, told, this.isDoubled);
  }

  private get loggedInAtMs(): number | undefined {
    return this.loggedIn && (this.loggedIn.at ?? this.kept?.record.createdAt);
  }

  private get isDoubled(): boolean {
    return this.presented?.via === 'cookie' && this.presented.tokens.length > 1;
  }

  private presentedNow(): Presented {
    this.presented ??= this.runtime.transport.presented(this.occasion.request);
    return this.presented;
  }

  /** One step at a time: what is saved twice at once would be compared with what is not there yet. */
  private inTurn<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.running.then(step, step);
    this.running = turn.catch(() => undefined);
    return turn;
  }

  private async saveNow({ isAnswer = false } = {}): Promise<void> {
    if (this.isEnded) {
      if (isAnswer) return;
      throw new SessionEndedError('session.save');
    }
    const changes = this.attributes.changes();
    if (changes.set.size === 0 && (changes.remove.length === 0 || !this.kept)) return;
    const { keeping } = this.runtime;
    this.assertTellable();
    this.attributes.send(changes);
    if (!this.kept) {
      const kept = await keeping.create(changes.set, this.runtime.metaOf(this.occasion.request));
      this.attributes.settle(changes, kept.record.attributes);
      this.hold(kept);
      return;
    }
    const kept = await keeping.save(this.kept, changes);
    if (typeof kept === 'string') {
      this.drop([...changes.set.keys(), ...changes.remove]);
      if (!isAnswer) throw new SessionEndedError('session.save');
      return;
    }
    this.attributes.settle(changes, kept.record.attributes);
    this.hold(kept);
  }

  /** @returns whether nobody else was faster */
  private async tryUpdate(name: string, value: unknown, revision: number): Promise<boolean> {
    if (this.isEnded) throw new SessionEndedError('session.update');
    const { keeping } = this.runtime;
    const isSet = value !== undefined;
    if (!this.kept && !isSet) return true;
    const set = new Map(isSet ? [[name, this.attributes.encode(name, value)]] : []);
    const changes = { set, remove: isSet ? [] : [name] };
    this.attributes.checkSize(changes);
    this.assertTellable();
    this.attributes.send(changes);
    if (!this.kept) {
      this.hold(await keeping.create(set, this.runtime.metaOf(this.occasion.request)));
      this.arm();
      return true;
    }
    const saved = await keeping.save(this.kept, { ...changes, expect: { attribute: name, revision } });
    if (saved === 'gone') this.throwEnded('session.update');
    const kept = saved === 'conflict' ? await this.look(this.kept, true) : saved;
    if (!kept) this.throwEnded('session.update');
    this.hold(kept);
    return saved !== 'conflict';
  }

  private async look(kept: KeptSession, looksOnly: boolean): Promise<KeptSession | undefined> {
    const { keeping } = this.runtime;
    return (await keeping.recognise(kept.token)?.load(looksOnly)) ?? keeping.again?.(kept);
  }

  private hold(kept: KeptSession): void {
    this.kept = kept;
    this.attributes.rebase(kept.record.attributes);
    this.loggedIn = decodeLogin(kept.record.principal);
    if (this.occasion.context && this.loggedIn) this.occasion.context.principal = this.loggedIn.principal;
  }

  /** One that cannot be read counts as none, and the store keeps it: another version may be able to read it. */
  private isReadable({ record }: KeptSession): boolean {
    try {
      decodeLogin(record.principal);
    } catch (cause) {
      this.runtime.incidents.report({
        code: 'SESSION_UNDECODABLE',
        source: 'session.principal',
        message: 'The user of a session cannot be decoded, and it counts as absent',
        cause,
      });
      return false;
    }
    return this.runtime.options.onUndecodable === 'drop-attribute' || this.attributesOf(record.attributes).isWhole();
  }

  private forget(): void {
    const { context } = this.occasion;
    if (context && this.loggedIn && context.principal === this.loggedIn.principal) context.principal = undefined;
    this.kept = undefined;
    this.loggedIn = undefined;
    this.attributes = this.attributesOf(NOTHING);
  }

  private noteEnd(): void {
    this.isEnded = true;
    this.forget();
  }

  private throwEnded(operation: string): never {
    this.noteEnd();
    throw new SessionEndedError(operation);
  }

  private drop(attributes: readonly string[]): void {
    const { handle = '', principal } = this;
    this.runtime.events.emit({ type: 'dropped', handle, principal, attributes });
    this.noteEnd();
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
    if (this.isEnded) throw new SessionEndedError(operation);
  }

  private assertHeadOpen(what: string): void {
    const { response } = this.occasion;
    if (response && !hasHeadLeft(response)) return;
    const when = response ? 'once the answer has begun' : 'over a socket';
    throw new SessionMisuseError(`A session cannot ${what} ${when}: its client could not be told.`);
  }

  /** What makes a new token needs somebody to tell it to. */
  private assertTellable(): void {
    const { isInToken } = this.runtime.keeping;
    if (!this.kept) this.assertHeadOpen('begin');
    else if (isInToken) this.assertHeadOpen('change');
    if (isInToken && this.occasion.response?.destroyed) {
      throw new SessionMisuseError('A session that is kept by its client cannot change: the client has left.');
    }
  }

  private attributesOf(base: ReadonlyMap<string, StoredAttribute>): SessionAttributes {
    const { maxAttributeBytes, maxBytes } = this.runtime.options;
    return new SessionAttributes(base, {
      maxAttributeBytes,
      maxBytes,
      onUndecodable: (name, cause) =>
        this.runtime.incidents.report({
          code: 'SESSION_UNDECODABLE',
          source: 'session.attributes',
          message: `An attribute cannot be decoded and counts as absent`,
          cause,
          fields: { attribute: name },
        }),
    });
  }
}

/** @throws SessionMisuseError */
function checkedPrincipal(user: Partial<Principal> | undefined): Principal {
  const { id, tenant } = user ?? {};
  if (typeof id !== 'string' || id === '' || (tenant !== undefined && typeof tenant !== 'string')) {
    throw new SessionMisuseError('login() needs a principal with an id of its own, a string that is not empty.');
  }
  return Object.freeze(tenant === undefined ? { id } : { id, tenant });
}
