import type { RequestSession } from '../request-session.js';
import { SessionMisuseError } from '../session.errors.js';

type Callback = (error?: unknown) => void;

/**
 * The session as `req.session`, for `@Session()` of Nest and for what was written for express-session, Passport among
 * it: attributes are properties, and `regenerate`, `save`, `reload`, `destroy` and `touch` take callbacks. Attributes
 * with these names, `id` and `cookie` are seen by `SessionRef` alone.
 */
export type SessionObject = Record<string, unknown>;

const objects = new WeakMap<RequestSession, SessionObject>();

/** What libraries look at before they go on; the cookie itself is a matter of the module's options. */
const COOKIE = Object.freeze({ path: '/', httpOnly: true, originalMaxAge: null, expires: null, maxAge: null });

export function sessionObjectOf(session: RequestSession): SessionObject {
  const known = objects.get(session);
  if (known) return known;
  const object = new Proxy(Object.create(null) as SessionObject, new SessionHandler(session));
  objects.set(session, object);
  return object;
}

/** Where the properties of a session object are kept. */
interface Properties {
  readonly names: readonly string[];
  get(name: string): unknown;
  has(name: string): boolean;
  set(name: string, value: unknown): void;
  delete(name: string): void;
}

/** What a session was before it was regenerated, for those who still hold its object. It is saved nowhere. */
class FormerProperties implements Properties {
  private readonly values: Map<string, unknown>;

  constructor(session: RequestSession) {
    this.values = new Map(session.names.map((name) => [name, session.get(name)]));
  }

  get names(): readonly string[] {
    return [...this.values.keys()];
  }

  get(name: string): unknown {
    return this.values.get(name);
  }

  has(name: string): boolean {
    return this.values.has(name);
  }

  set(name: string, value: unknown): void {
    this.values.set(name, value);
  }

  delete(name: string): void {
    this.values.delete(name);
  }
}

class SessionHandler implements ProxyHandler<SessionObject> {
  private readonly methods: Readonly<Record<string, (callback?: Callback) => unknown>>;
  private properties: Properties;
  private former: { readonly id: string | undefined } | undefined;

  constructor(private readonly session: RequestSession) {
    this.properties = session;
    this.methods = {
      regenerate: (callback) => this.settle(() => this.regenerate(), callback),
      save: (callback) => this.settle(() => session.save(), callback),
      reload: (callback) => this.settle(() => session.reload(), callback),
      destroy: (callback) => this.settle(() => session.logout(), callback),
      touch: () => undefined,
    };
  }

  get(_target: SessionObject, name: string | symbol): unknown {
    if (typeof name === 'symbol') return undefined;
    if (name === 'id') return this.former ? this.former.id : this.session.handle;
    if (name === 'cookie') return COOKIE;
    return Object.hasOwn(this.methods, name) ? this.methods[name] : this.properties.get(name);
  }

  set(_target: SessionObject, name: string | symbol, value: unknown): boolean {
    if (typeof name === 'symbol' || this.isReserved(name)) {
      throw new SessionMisuseError(`'${String(name)}' of a session cannot be set.`);
    }
    this.properties.set(name, value);
    return true;
  }

  has(_target: SessionObject, name: string | symbol): boolean {
    return typeof name === 'string' && (this.isReserved(name) || this.properties.has(name));
  }

  deleteProperty(_target: SessionObject, name: string | symbol): boolean {
    if (typeof name === 'string' && !this.isReserved(name)) this.properties.delete(name);
    return true;
  }

  ownKeys(): string[] {
    return this.properties.names.filter((name) => !this.isReserved(name));
  }

  getOwnPropertyDescriptor(_target: SessionObject, name: string | symbol): PropertyDescriptor | undefined {
    if (typeof name === 'symbol' || this.isReserved(name) || !this.properties.has(name)) return undefined;
    return { value: this.properties.get(name), writable: true, enumerable: true, configurable: true };
  }

  /** Only values can be kept, and only ones that can be changed. */
  defineProperty(target: SessionObject, name: string | symbol, descriptor: PropertyDescriptor): boolean {
    return 'value' in descriptor && descriptor.configurable !== false && this.set(target, name, descriptor.value);
  }

  preventExtensions(): boolean {
    return false;
  }

  setPrototypeOf(): boolean {
    return false;
  }

  private isReserved(name: string): boolean {
    return name === 'id' || name === 'cookie' || Object.hasOwn(this.methods, name);
  }

  /**
   * The session ends at once, its id and data with it; the next one begins with the first attribute, as that of any
   * visitor, in another object. This object keeps what was in it, so that it can be carried over.
   */
  private async regenerate(): Promise<void> {
    const { session } = this;
    const former = new FormerProperties(session);
    const id = session.handle;
    await session.logout();
    this.properties = former;
    this.former = { id };
    objects.delete(session);
  }

  private settle(step: () => Promise<void>, callback: Callback | undefined): Promise<void> | undefined {
    const done = this.former
      ? Promise.reject<void>(new SessionMisuseError('This session was regenerated: req.session is another one by now.'))
      : step();
    if (typeof callback !== 'function') return done;
    // Outside of the promise, so that what the callback throws is an uncaught error of its own, as of any callback.
    done.then(
      () => queueMicrotask(() => callback()),
      (error: unknown) => queueMicrotask(() => callback(error)),
    );
    return undefined;
  }
}
