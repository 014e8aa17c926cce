import type { RequestSession } from '../request-session.js';
import { SessionMisuseError } from '../session.errors.js';

type Callback = (error?: unknown) => void;

/**
 * The session as `req.session`, for `@Session()` of Nest and for what was written for express-session: attributes are
 * properties, and `regenerate`, `save`, `reload`, `destroy` and `touch` take callbacks.
 */
export type SessionObject = Record<string, unknown>;

const objects = new WeakMap<RequestSession, SessionObject>();

export function sessionObjectOf(session: RequestSession): SessionObject {
  const known = objects.get(session);
  if (known) return known;
  const object = new Proxy(Object.create(null) as SessionObject, new SessionHandler(session));
  objects.set(session, object);
  return object;
}

class SessionHandler implements ProxyHandler<SessionObject> {
  private readonly methods: Readonly<Record<string, (callback?: Callback) => unknown>>;

  constructor(private readonly session: RequestSession) {
    this.methods = {
      save: (callback) => settle(session.save(), callback),
      reload: (callback) => settle(session.reload(), callback),
      destroy: (callback) => settle(session.logout(), callback),
      touch: () => undefined,
    };
  }

  get(_target: SessionObject, name: string | symbol): unknown {
    if (typeof name === 'symbol') return undefined;
    if (name === 'id') return this.session.handle;
    return Object.hasOwn(this.methods, name) ? this.methods[name] : this.session.get(name);
  }

  set(_target: SessionObject, name: string | symbol, value: unknown): boolean {
    if (typeof name === 'symbol' || name === 'id' || Object.hasOwn(this.methods, name)) {
      throw new SessionMisuseError(`'${String(name)}' of a session cannot be set.`);
    }
    this.session.set(name, value);
    return true;
  }

  has(_target: SessionObject, name: string | symbol): boolean {
    return typeof name === 'string' && this.session.has(name);
  }

  deleteProperty(_target: SessionObject, name: string | symbol): boolean {
    if (typeof name === 'string') this.session.delete(name);
    return true;
  }

  ownKeys(): string[] {
    return [...this.session.names];
  }

  getOwnPropertyDescriptor(target: SessionObject, name: string | symbol): PropertyDescriptor | undefined {
    if (!this.has(target, name)) return undefined;
    return { value: this.get(target, name), writable: true, enumerable: true, configurable: true };
  }

  defineProperty(target: SessionObject, name: string | symbol, { value }: PropertyDescriptor): boolean {
    return this.set(target, name, value);
  }
}

function settle(promise: Promise<void>, callback: Callback | undefined): Promise<void> | undefined {
  if (typeof callback !== 'function') return promise;
  promise.then(() => callback(), callback);
  return undefined;
}
