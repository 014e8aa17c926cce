import { Inject, type InjectionToken } from '@nestjs/common';

/**
 * Lets Nest inject `token` into every instance of a class, in whichever application and scope it is made, under a
 * symbol that shows in no log line. Where the container has no such provider the application does not start, and what
 * Nest prints is the description of the symbol: let it say which module is needed, and for what. An instance made by a
 * plain `new` simply has nothing there. A subclass inherits both the property and Nest's metadata.
 */
export function injectHidden(prototype: object, property: symbol, token: InjectionToken): void {
  if (property in prototype) return;
  Object.defineProperty(prototype, property, hiddenAccessor(property));
  Inject(token)(prototype, property);
}

/** Nest assigns what it injects; without this setter it would be an enumerable property of the instance. */
function hiddenAccessor(property: symbol): PropertyDescriptor {
  const besideFrozen = new WeakMap<object, unknown>();
  return {
    configurable: true,
    get(this: object): unknown {
      return besideFrozen.get(this);
    },
    set(this: object, injected: unknown): void {
      if (Object.isExtensible(this)) {
        Object.defineProperty(this, property, { value: injected, configurable: true, writable: true });
      } else {
        besideFrozen.set(this, injected);
      }
    },
  };
}
