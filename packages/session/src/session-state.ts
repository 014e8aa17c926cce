import { AsyncLocalStorage } from 'node:async_hooks';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Incidents, Listeners, RequestContext } from '@lockstep/core';
import { hasHeadLeft } from './http/gated-response.js';
import type { SessionTransport } from './http/session-transport.js';
import { decodeLogin, type KeptSession, type LoggedIn, type SessionKeeping } from './keeping/session-keeping.js';
import { SessionEndedError, SessionMisuseError } from './session.errors.js';
import type { ResolvedSessionOptions } from './session.options.js';
import { SessionAttributes } from './session-attributes.js';
import type { SessionEvent } from './session-events.js';
import type { StoredAttribute } from './session-store.js';

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

/** The session whose `update` is being computed: a step that waited for its turn in there would wait for ever. */
const computing = new AsyncLocalStorage<SessionState>();

/** What a request knows of its session, and the steps that it takes with where sessions are kept. */
export class SessionState {
  kept: KeptSession | undefined;
  loggedIn: LoggedIn | undefined;
  /** Somebody else ended it, which this request has found. */
  isEnded = false;
  private ownAttributes: SessionAttributes | undefined;
  private running: Promise<unknown> | undefined;
  /** Steps under way that change what the client must hold. */
  private moves = 0;

  constructor(
    private readonly runtime: SessionRuntime,
    private readonly occasion: SessionOccasion,
  ) {}

  /** Made when they are first asked for: most requests of visitors never do. */
  get attributes(): SessionAttributes {
    this.ownAttributes ??= this.attributesOf(this.kept?.record.attributes ?? NOTHING);
    return this.ownAttributes;
  }

  hasChanges(): boolean {
    if (this.moves > 0) return true;
    if (this.isEnded || !this.ownAttributes) return false;
    const { set, remove } = this.ownAttributes.changes();
    return set.size > 0 || (remove.length > 0 && this.kept !== undefined);
  }

  /** What is not saved, and what was read and may be changed in place, counts no more. */
  forgetChanges(): void {
    this.ownAttributes = undefined;
  }

  /** One step at a time: what is saved twice at once would be compared with what is not there yet. */
  inTurn<T>(step: () => Promise<T>): Promise<T> {
    if (computing.getStore() === this) {
      return Promise.reject(new SessionMisuseError('The function of an update() can only compute.'));
    }
    const turn = this.running ? this.running.then(step, step) : Promise.resolve().then(step);
    // Whoever asked for the step hears of its failure; the next one only waits for its end.
    this.running = turn.catch(() => undefined);
    return turn;
  }

  /** A step for whose token the answer has to wait, even where the handler does not. */
  async move(step: () => Promise<void>): Promise<void> {
    this.moves += 1;
    try {
      await this.inTurn(step);
    } finally {
      this.moves -= 1;
    }
  }

  /** Runs the function of an update. */
  compute<T>(fn: () => T | Promise<T>): Promise<T> {
    return computing.run(this, async () => fn());
  }

  async saveNow({ isAnswer = false } = {}): Promise<void> {
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
  async tryUpdate(name: string, value: unknown, revision: number): Promise<boolean> {
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
      return true;
    }
    const saved = await keeping.save(this.kept, { ...changes, expect: { attribute: name, revision } });
    if (saved === 'gone') this.throwEnded('session.update');
    const kept = saved === 'conflict' ? await this.look(this.kept, true) : saved;
    if (!kept) this.throwEnded('session.update');
    this.hold(kept);
    return saved !== 'conflict';
  }

  async look(kept: KeptSession, looksOnly: boolean): Promise<KeptSession | undefined> {
    const { keeping } = this.runtime;
    return (await keeping.recognise(kept.token)?.load(looksOnly)) ?? keeping.again?.(kept);
  }

  async isStillThere(looksOnly: boolean): Promise<boolean> {
    const before = this.kept;
    if (!before) return false;
    const kept = await this.look(before, looksOnly);
    if (!kept && this.kept) this.noteEnd();
    // A save may have been faster, and knows more.
    else if (kept && this.kept === before) this.hold(kept);
    return this.kept !== undefined;
  }

  hold(kept: KeptSession): void {
    this.kept = kept;
    this.ownAttributes?.rebase(kept.record.attributes);
    this.loggedIn = decodeLogin(kept.record.principal);
    if (this.occasion.context && this.loggedIn) this.occasion.context.principal = this.loggedIn.principal;
  }

  /** One that cannot be read counts as none, and the store keeps it: another version may be able to read it. */
  isReadable({ record }: KeptSession): boolean {
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

  forget(): void {
    const { context } = this.occasion;
    if (context && this.loggedIn && context.principal === this.loggedIn.principal) context.principal = undefined;
    this.kept = undefined;
    this.loggedIn = undefined;
    this.ownAttributes = undefined;
  }

  noteEnd(): void {
    this.isEnded = true;
    this.forget();
  }

  throwEnded(operation: string): never {
    this.noteEnd();
    throw new SessionEndedError(operation);
  }

  private drop(attributes: readonly string[]): void {
    const handle = this.kept?.record.key.id ?? '';
    const principal = this.loggedIn?.principal;
    this.runtime.events.emit({ type: 'dropped', handle, principal, attributes });
    this.noteEnd();
  }

  assertHeadOpen(what: string): void {
    const { response } = this.occasion;
    if (response && !hasHeadLeft(response)) return;
    const when = response ? 'once the answer has begun' : 'over a socket';
    throw new SessionMisuseError(`A session cannot ${what} ${when}: its client could not be told.`);
  }

  /** What makes a new token needs somebody to tell it to. */
  assertTellable(): void {
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
