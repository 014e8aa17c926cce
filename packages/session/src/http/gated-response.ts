import type { ServerResponse } from 'node:http';

export type Method = 'writeHead' | 'write' | 'end' | 'flushHeaders';

/** What decides over the calls that make an answer. */
export interface Gate {
  /** Frameworks ask whether a head, or the end, has been given before they answer once more. */
  readonly hidesHead: boolean;
  readonly hidesEnd: boolean;
  writeHead(args: unknown[]): unknown;
  write(args: unknown[]): boolean;
  end(args: unknown[]): unknown;
  flushHeaders(): void;
}

/** The methods of an answer as they were before its gate. */
export interface Inner {
  writeHead(args: unknown[]): unknown;
  write(args: unknown[]): boolean;
  end(args: unknown[]): unknown;
  flushHeaders(): void;
}

const GATE = Symbol('lockstep:response-gate');
const UNGATED_HEAD = Symbol('lockstep:ungated-head');
const METHODS: readonly Method[] = ['writeHead', 'write', 'end', 'flushHeaders'];

type Call = (this: unknown, ...args: unknown[]) => never;
type Callable = Record<Method, Call>;
type Gated = ServerResponse & { [GATE]: Gate; [UNGATED_HEAD]: (response: ServerResponse) => boolean };

const prototypes = new WeakMap<object, object>();

/**
 * Leads the calls that make an answer to its gate. By a prototype that all answers of a kind share: properties of its
 * own, with accessors among them, would cost each answer more than all else that a gate does. Methods that others have
 * put on this one answer by then are gated in their place.
 */
export function gateResponse(response: ServerResponse, gate: Gate): Inner {
  const base = Object.getPrototypeOf(response) as Callable;
  const own: Partial<Callable> = {};
  for (const method of METHODS) {
    if (!Object.hasOwn(response, method)) continue;
    own[method] = (response as unknown as Callable)[method];
    Object.assign(response, { [method]: (...args: unknown[]) => gate[method](args) });
  }
  (response as Gated)[GATE] = gate;
  Object.setPrototypeOf(response, gatedPrototype(base));
  const inner = (method: Method, args: unknown[]): never => (own[method] ?? base[method]).apply(response, args);
  return {
    writeHead: (args) => inner('writeHead', args),
    write: (args) => inner('write', args),
    end: (args) => inner('end', args),
    flushHeaders: () => inner('flushHeaders', []),
  };
}

/** Whether the head of an answer has left, whatever its gate tells others. */
export function hasHeadLeft(response: ServerResponse): boolean {
  const hasLeft = (response as Partial<Gated>)[UNGATED_HEAD];
  return hasLeft ? hasLeft(response) : response.headersSent;
}

function gatedPrototype(base: object): object {
  const known = prototypes.get(base);
  if (known) return known;
  const hasHead = ungated(base, 'headersSent');
  const hasEnd = ungated(base, 'writableEnded');
  const gated = Object.create(base, {
    headersSent: {
      configurable: true,
      get(this: Gated) {
        return this[GATE].hidesHead || hasHead(this);
      },
    },
    writableEnded: {
      configurable: true,
      get(this: Gated) {
        return this[GATE].hidesEnd || hasEnd(this);
      },
    },
  }) as Callable;
  Object.defineProperty(gated, UNGATED_HEAD, { value: hasHead });
  for (const method of METHODS) {
    Object.defineProperty(gated, method, {
      configurable: true,
      writable: true,
      value(this: Gated, ...args: unknown[]) {
        return this[GATE][method](args);
      },
    });
  }
  prototypes.set(base, gated);
  return gated;
}

/** What the property says of an answer that has no gate. */
function ungated(base: object, property: 'headersSent' | 'writableEnded'): (response: ServerResponse) => boolean {
  for (let at: object | null = base; at; at = Object.getPrototypeOf(at) as object | null) {
    const descriptor = Object.getOwnPropertyDescriptor(at, property);
    if (descriptor?.get) return (response) => descriptor.get?.call(response) === true;
  }
  throw new TypeError(`This kind of answer does not tell ${property}`);
}
