import type { SessionModuleExtras, SessionStore } from '@lockstep/session';
import { MemorySessionStore } from '@lockstep/session';

type Step = keyof SessionStore;

export interface SpyingStore {
  readonly driver: NonNullable<SessionModuleExtras['store']>;
  readonly memory: MemorySessionStore;
  /** The steps that were asked of it, in their order. */
  readonly calls: Step[];
}

/** A store in memory that notes what it is asked. */
export function spyingStore(): SpyingStore {
  const memory = new MemorySessionStore();
  const calls: Step[] = [];
  const steps: readonly string[] = ['load', 'create', 'save', 'replace', 'list', 'remove'];
  const store = new Proxy(memory, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (typeof name === 'string' && steps.includes(name)) calls.push(name as Step);
        return Reflect.apply(value, target, args) as unknown;
      };
    },
  });
  return { driver: { useFactory: () => store }, memory, calls };
}
