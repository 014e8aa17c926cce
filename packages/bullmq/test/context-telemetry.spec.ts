import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import { contextTelemetry } from '@lockstep/bullmq';
import { type CarriedHeaders, ContextCarriers, Incidents, RequestContext } from '@lockstep/core';
import { eventually } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { type Job, Queue, type Span, type Telemetry, Worker } from 'bullmq';
import { afterEach, describe, expect, it } from 'vitest';

const redis = useRedis();
const QUEUE = 'told';
let opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  const closing = opened;
  opened = [];
  await Promise.all(closing.map((it) => it.close()));
});

const color = new AsyncLocalStorage<string>();

/** Carriers with one that carries a color. */
function carriersOfColor(): ContextCarriers {
  const carriers = new ContextCarriers(new Incidents());
  carriers.register({
    name: 'color',
    inject: (headers: CarriedHeaders) => {
      const current = color.getStore();
      if (current !== undefined) headers['Color'] = current;
    },
    run: (headers, fn) => (headers['Color'] === undefined ? fn() : color.run(headers['Color'], fn)),
  });
  return carriers;
}

/** Another telemetry: its context is the name of a trace. */
class Tracing {
  readonly spans: string[] = [];
  private readonly trace = new AsyncLocalStorage<string>();

  get current(): string | undefined {
    return this.trace.getStore();
  }

  run<T>(name: string, fn: () => T): T {
    return this.trace.run(name, fn);
  }

  readonly telemetry: Telemetry<string | undefined> = {
    tracer: {
      startSpan: (name, _options, context) => {
        this.spans.push(`${name} in ${context ?? 'none'}`);
        const span: Span<string | undefined> = {
          setSpanOnContext: (active) => active,
          setAttribute: () => undefined,
          setAttributes: () => undefined,
          addEvent: () => undefined,
          recordException: () => undefined,
          end: () => this.spans.push(`end ${name}`),
        };
        return span;
      },
    },
    contextManager: {
      active: () => this.trace.getStore(),
      with: (context, fn) => this.trace.run(context ?? '', fn) as ReturnType<typeof fn>,
      getMetadata: (context) => `trace=${context ?? ''}`,
      fromMetadata: (_active, metadata) => metadata.replace('trace=', ''),
    },
  };
}

interface Ends {
  readonly queue: Queue;
  readonly seen: string[];
}

function open(telemetry: Telemetry | undefined, worker: Telemetry, look: (job: Job) => string): Ends {
  const { hostname: host, port } = new URL(redis.url);
  const connection = { host, port: Number(port) };
  const seen: string[] = [];
  const queue = new Queue(QUEUE, { connection, prefix: redis.prefix, ...(telemetry && { telemetry }) });
  const process = async (job: Job): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve));
    seen.push(`${job.name} ${look(job)}`);
  };
  opened.push(queue, new Worker(QUEUE, process, { connection, prefix: redis.prefix, telemetry: worker }));
  return { queue, seen };
}

describe('contextTelemetry', () => {
  it('carries what the carriers carry to the processor, and works around another telemetry', async () => {
    const tracing = new Tracing();
    const telemetry = contextTelemetry(carriersOfColor(), tracing.telemetry);
    const { queue, seen } = open(telemetry, telemetry, () => `${color.getStore()} ${tracing.current}`);
    await tracing.run('t1', () => color.run('red', () => queue.add('first', {})));
    await tracing.run('t2', () => color.run('blue', () => queue.addBulk([{ name: 'second', data: {} }])));
    await eventually(() => expect(seen.toSorted()).toEqual(['first red t1', 'second blue t2']));
    expect(tracing.spans).toContain(`process ${QUEUE} in t1`);
    await eventually(() => expect(tracing.spans.filter((span) => span === `end process ${QUEUE}`)).toHaveLength(2));
  });

  it('leaves to the other telemetry what that one wrote alone, before it was put around it', async () => {
    const tracing = new Tracing();
    const around = contextTelemetry(carriersOfColor(), tracing.telemetry);
    const { queue, seen } = open(tracing.telemetry, around, () => `${color.getStore()} ${tracing.current}`);
    await tracing.run('t3', () => color.run('red', () => queue.add('old', {})));
    await eventually(() => expect(seen).toEqual(['old undefined t3']));
  });

  it('carries nothing for a job that says so, nor the user in whose context the worker was started', async () => {
    const telemetry = contextTelemetry(carriersOfColor());
    const starter = new RequestContext();
    starter.principal = { id: 'starter' };
    const { queue, seen } = RequestContext.run(starter, () =>
      open(telemetry, telemetry, () => `${color.getStore()} ${RequestContext.current()?.principal?.id}`),
    );
    const told = color.run('red', () => queue.add('told', {}));
    const omitted = color.run('red', () => queue.add('omitted', {}, { telemetry: { omitContext: true } }));
    await Promise.all([told, omitted]);
    await eventually(() => expect(seen.toSorted()).toEqual(['omitted undefined undefined', 'told red undefined']));
  });
});
