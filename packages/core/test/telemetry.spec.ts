import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import {
  checkpoint,
  count,
  describeThrown,
  Incidents,
  isLockstepError,
  LockstepError,
  openSpan,
  record,
  withSpan,
} from '@lockstep/core';
import { Logger } from '@nestjs/common';
import {
  type Context,
  type ContextManager,
  context,
  metrics,
  ROOT_CONTEXT,
  type Span,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { afterEach, describe, expect, it, vi } from 'vitest';

afterEach(() => {
  metrics.disable();
  trace.disable();
  context.disable();
  vi.restoreAllMocks();
});

/** As much of an SDK as the API asks for. */
function registerMetrics(): string[] {
  const added: string[] = [];
  const createCounter = (name: string) => ({
    add: (value: number, attributes: object) => added.push(`${name} ${value} ${JSON.stringify(attributes)}`),
  });
  const createHistogram = (name: string, { unit }: { unit: string }) => ({
    record: (value: number, attributes: object) => added.push(`${name} ${value} ${unit} ${JSON.stringify(attributes)}`),
  });
  metrics.setGlobalMeterProvider({ getMeter: () => ({ createCounter, createHistogram }) } as never);
  return added;
}

function registerTraces(): string[] {
  const notes: string[] = [];
  const span = {
    setStatus: ({ code }: { code: number }) => notes.push(`status ${code}`),
    setAttribute: (key: string, value: string) => notes.push(`${key} ${value}`),
    recordException: (error: Error) => notes.push(`exception ${error.message}`),
    end: () => notes.push('end'),
  } as unknown as Span;
  const startActiveSpan = (name: string, options: { attributes: object }, fn: (span: Span) => unknown) => {
    notes.push(`start ${name} ${JSON.stringify(options.attributes)}`);
    return fn(span);
  };
  const startSpan = (name: string, options: { attributes: object }) => startActiveSpan(name, options, () => span);
  trace.setGlobalTracerProvider({ getTracer: () => ({ startActiveSpan, startSpan }) as unknown as Tracer });
  return notes;
}

describe('without an SDK', () => {
  it('costs nothing but the call: results and errors pass', async () => {
    const error = new Error('business');
    expect(await withSpan('lock.acquire', {}, async () => 7)).toBe(7);
    await expect(withSpan('lock.acquire', {}, () => Promise.reject(error))).rejects.toBe(error);
    await expect(
      withSpan('x', {}, () => {
        throw error;
      }),
    ).rejects.toBe(error);
    expect(() => count('lockstep.test')).not.toThrow();
    expect(() => record('lockstep.test.duration', 0.5)).not.toThrow();
  });
});

describe('with an SDK', () => {
  it('counts, even where a counter was used before the SDK was registered', () => {
    count('lockstep.early');
    const first = registerMetrics();
    count('lockstep.early', { code: 'X' });
    count('lockstep.early', {}, 3);
    expect(first).toEqual(['lockstep.early 1 {"code":"X"}', 'lockstep.early 3 {}']);
  });

  it('notes durations in seconds, even where a histogram was used before the SDK was registered', () => {
    record('lockstep.early', 1);
    const noted = registerMetrics();
    record('lockstep.early', 0.25, { store: 'redis' });
    record('lockstep.early', 2);
    expect(noted).toEqual(['lockstep.early 0.25 s {"store":"redis"}', 'lockstep.early 2 s {}']);
  });

  it('keeps nothing of an SDK that was replaced', () => {
    const first = registerMetrics();
    record('lockstep.again', 1);
    metrics.disable();
    const second = registerMetrics();
    record('lockstep.again', 2);
    count('lockstep.again.count');
    expect([first, second]).toEqual([
      ['lockstep.again 1 s {}'],
      ['lockstep.again 2 s {}', 'lockstep.again.count 1 {}'],
    ]);
  });

  it('ends every span, and marks the one that failed', async () => {
    const notes = registerTraces();
    await withSpan('good', { key: 'k' }, async () => undefined);
    const busy = new LockstepError({ code: 'LOCK_BUSY', kind: 'busy', message: 'held' });
    await expect(withSpan('bad', {}, () => Promise.reject(busy))).rejects.toBe(busy);
    expect(notes).toEqual([
      'start good {"key":"k"}',
      'end',
      'start bad {}',
      'status 2',
      'error.type LOCK_BUSY',
      'exception held',
      'end',
    ]);
  });

  it('keeps a span of pieces open from its start to its end, and active in each piece', () => {
    const notes = registerTraces();
    const contexts = new AsyncLocalStorage<Context>();
    const manager: Pick<ContextManager, 'active' | 'with' | 'disable'> = {
      active: () => contexts.getStore() ?? ROOT_CONTEXT,
      with: (active, fn, self, ...args) => contexts.run(active, () => fn.apply(self as never, args)),
      disable: () => manager as ContextManager,
    };
    context.setGlobalContextManager(manager as ContextManager);
    const [good, bad] = [openSpan('good', { key: 'k' }), openSpan('bad', {})];
    const active = () => trace.getActiveSpan();
    expect([good.run(active), bad.run(active), active()]).toEqual([expect.anything(), expect.anything(), undefined]);
    expect(good.run(active)).toBe(good.run(active));
    good.end();
    bad.end(new Error('held'));
    const ends = ['end', 'status 2', 'error.type Error', 'exception held', 'end'];
    expect(notes).toEqual(['start good {"key":"k"}', 'start bad {}', ...ends]);
  });
});

describe('Incidents', () => {
  const incident = { code: 'LEASE_LOST', source: 'lock.heartbeat', message: 'gone', fields: { n: 1 } };

  it('logs the first of a kind, counts the rest and says later how many were left out', () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
    const clock = vi.spyOn(performance, 'now').mockReturnValue(1_000_000);
    const added = registerMetrics();
    const incidents = new Incidents();
    for (let index = 0; index < 1_000; index++) incidents.report({ ...incident, cause: new Error('why') });
    incidents.report({ ...incident, source: 'lock.other', cause: { odd: true } });
    clock.mockReturnValue(1_001_000);
    incidents.report(incident);
    expect(warn.mock.calls.flat()).toEqual([
      'LEASE_LOST in lock.heartbeat: gone: why {"n":1}',
      'LEASE_LOST in lock.other: gone: { odd: true } {"n":1}',
      'LEASE_LOST in lock.heartbeat: gone {"n":1} (and 999 more)',
    ]);
    expect(added).toHaveLength(1_002);
    expect(added[0]).toBe('lockstep.incidents 1 {"code":"LEASE_LOST","source":"lock.heartbeat"}');
  });

  it('logs the deepest cause, which says what to repair', () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
    const incidents = new Incidents();
    const refused = new AggregateError([new Error('connect ECONNREFUSED ::1:5432')], '');
    const ring = new Error('ring');
    ring.cause = new Error('other side', { cause: ring });
    const causes = [new Error('postgres did not answer', { cause: new Error('no client', { cause: refused }) }), ring];
    for (const [index, cause] of causes.entries()) incidents.report({ ...incident, source: `lock.${index}`, cause });
    expect(warn.mock.calls.flat()).toEqual([
      'LEASE_LOST in lock.0: gone: postgres did not answer: connect ECONNREFUSED ::1:5432 {"n":1}',
      'LEASE_LOST in lock.1: gone: ring: other side {"n":1}',
    ]);
  });

  it('survives causes that cannot be made a text, and says what it can of them', async () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
    registerTraces();
    const trap = () => {
      throw new Error('trap');
    };
    const proxy = new Proxy({}, { get: trap, has: trap, getPrototypeOf: trap });
    const unreadable = Object.defineProperty(new Error(), 'message', { get: trap });
    const incidents = new Incidents();
    for (const [index, cause] of [Object.create(null), proxy, unreadable, 'x'.repeat(5_000)].entries()) {
      incidents.report({ ...incident, source: `lock.${index}`, cause });
      expect(isLockstepError(cause)).toBe(false);
      expect(describeThrown(cause).length).toBeLessThanOrEqual(2_000);
    }
    await expect(withSpan('bad', {}, () => Promise.reject(proxy)).catch((error) => error === proxy)).resolves.toBe(
      true,
    );
    const lines = warn.mock.calls.flat().map(String);
    expect(lines[0]).toContain('gone: [Object: null prototype] {}');
    expect(lines[2]).toContain('gone: something that cannot be described');
    expect(describeThrown(new TypeError('why'))).toBe('TypeError: why');
  });

  it('tells every listener of every incident, whatever another listener does, until it is unsubscribed', async () => {
    vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
    const error = vi.spyOn(Logger.prototype, 'error').mockReturnValue();
    const incidents = new Incidents();
    const heard: string[] = [];
    incidents.subscribe(() => {
      throw new Error('listener');
    });
    const asyncListener: () => unknown = async () => {
      throw new Error('async listener');
    };
    incidents.subscribe(asyncListener);
    const unsubscribeHeard = incidents.subscribe(({ code }) => heard.push(code));
    incidents.report(incident);
    incidents.report(incident);
    unsubscribeHeard();
    incidents.report(incident);
    await new Promise((resolve) => setImmediate(resolve));
    expect(heard).toEqual(['LEASE_LOST', 'LEASE_LOST']);
    expect(error).toHaveBeenCalledTimes(6);
  });
});

describe('checkpoint', () => {
  it('is heard on the diagnostics channel, in place and in order', () => {
    const heard: unknown[] = [];
    const listener = (message: unknown) => heard.push(message);
    checkpoint('nobody listens');
    subscribe('lockstep:checkpoint', listener);
    checkpoint('outbox.published', { id: 1 });
    checkpoint('outbox.acked');
    unsubscribe('lockstep:checkpoint', listener);
    checkpoint('nobody listens');
    expect(heard).toEqual([{ name: 'outbox.published', detail: { id: 1 } }, { name: 'outbox.acked' }]);
  });
});
