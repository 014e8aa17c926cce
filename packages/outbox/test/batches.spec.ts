import 'reflect-metadata';
import { StoreUnavailableError } from '@lockstep/core';
import {
  DeadLetters,
  MESSAGE_TRANSPORT,
  type Message,
  type MessageTransport,
  OnMessage,
  OutboxService,
} from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { type EventuallyOptions, eventually as eventuallyWithin } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import {
  BadRequestException,
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
  type PipeTransform,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { HandTransport } from './support/hand-transport.js';
import { type OutboxApplication, startOutbox } from './support/outbox-application.js';
import { strictMessage } from './support/strict-messages.js';

const SHORT = { first: 10, atMost: 20 } as const;

/** Several consumers and a relay share the machine with others. */
const PATIENT: EventuallyOptions = { timeoutMs: 20_000 };
const eventually = <T>(check: () => T | Promise<T>) => eventuallyWithin(check, PATIENT);

interface Line {
  readonly n: number;
  readonly key?: string;
}

const piped: string[] = [];

class CheckPipe implements PipeTransform {
  transform(value: unknown, { type }: { type: string }): unknown {
    piped.push(`${type} ${Array.isArray(value)}`);
    if (typeof (value as Line).n !== 'number') throw new BadRequestException('n is no number');
    return { ...(value as Line), checked: true };
  }
}

class SeeInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler) {
    piped.push(`interceptor ${context.getHandler().name} ${context.getArgs().length}`);
    return next.handle();
  }
}

@Injectable()
class Ledger {
  readonly calls: number[][] = [];
  fail: (ns: readonly number[]) => unknown = () => undefined;
  hold: Promise<void> = Promise.resolve();

  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('line', { consumer: 'ledger', batch: true, attempts: 2, backoff: SHORT, concurrency: 2 })
  async post(lines: readonly Line[], messages: readonly Message[]): Promise<void> {
    await this.write(lines, messages);
  }

  @OnMessage('checked', { consumer: 'ledger', batch: true, attempts: 1, backoff: SHORT })
  @UsePipes(CheckPipe)
  @UseInterceptors(SeeInterceptor)
  async checked(lines: readonly (Line & { checked?: boolean })[], messages: readonly Message[]): Promise<void> {
    if (!lines.every(({ checked }) => checked)) throw new Error('a body did not go through the pipes');
    await this.write(lines, messages);
  }

  private async write(lines: readonly Line[], messages: readonly Message[]): Promise<void> {
    const ns = lines.map(({ n }) => n);
    this.calls.push(ns);
    await this.hold;
    const tx = this.sql.requireCurrent('ledger');
    for (const [index, n] of ns.entries()) {
      await tx.execute('INSERT INTO line (n, message_id) VALUES ($1, $2)', [n, messages[index]?.id]);
    }
    const failure = this.fail(ns);
    if (failure) throw failure;
  }
}

describe('Batches', () => {
  const postgres = usePostgres();
  let application: OutboxApplication;
  let sql: Sql;
  let outbox: OutboxService;
  let transport: MessageTransport;
  let ledger: Ledger;
  let deadLetters: DeadLetters;

  beforeAll(async () => {
    application = await startOutbox({
      url: postgres.url,
      providers: [Ledger],
      shards: 1,
      redeliverAfter: 5_000,
      redeliverAtMost: 5_000,
      prepare: async (db) => void (await db.execute('CREATE TABLE line (id serial, n int, message_id uuid)')),
    });
    const { app } = application;
    ({ sql } = application);
    [outbox, ledger, deadLetters] = [app.get(OutboxService), app.get(Ledger), app.get(DeadLetters)];
    transport = app.get(MESSAGE_TRANSPORT);
  });
  afterAll(() => application.app.close());
  beforeEach(async () => {
    [ledger.fail, ledger.hold, ledger.calls.length, piped.length] = [() => undefined, Promise.resolve(), 0, 0];
    await sql.execute('TRUNCATE line, lockstep_outbox_dead');
  });

  const publish = (topic: string, ...bodies: unknown[]) =>
    sql.transaction(async () => outbox.publishMany(bodies.map((body) => ({ topic, body }))));
  const lines = (...ns: number[]) => publish('line', ...ns.map((n) => ({ n })));
  const posted = async () => (await sql.query<Line>('SELECT n FROM line ORDER BY id')).map(({ n }) => n);
  const untilAcknowledged = () =>
    eventually(async () => {
      expect(await sql.query('SELECT 1 FROM lockstep_outbox')).toEqual([]);
      expect(await sql.query('SELECT 1 FROM lockstep_outbox_inflight')).toEqual([]);
    });

  it('handles what arrives together in one call and one transaction, and acknowledges all of it', async () => {
    await lines(1, 2, 3, 4, 5);
    await eventually(async () => expect(await posted()).toEqual([1, 2, 3, 4, 5]));
    expect(ledger.calls).toEqual([[1, 2, 3, 4, 5]]);
    const [row] = await sql.query<{ transactions: number }>(
      'SELECT count(DISTINCT xmin::text)::int AS transactions FROM line',
    );
    expect(row).toEqual({ transactions: 1 });
    await untilAcknowledged();
  });

  it('calls the handler with those of a batch that are new', async () => {
    const [id = ''] = await lines(1);
    await untilAcknowledged();
    ledger.calls.length = 0;
    const copy = { ...strictMessage('line', 'k', 1), id, key: undefined, headers: { 'Lockstep-Origin': 'mall' } };
    const fresh = { ...strictMessage('line', 'k', 2), key: undefined, headers: { 'Lockstep-Origin': 'mall' } };
    const other = { ...strictMessage('line', 'k', 3), key: undefined, headers: { 'Lockstep-Origin': 'mall' } };
    await transport.publish({ topic: 'line', consumer: 'ledger' }, [copy, fresh, other]);
    await eventually(() => expect(ledger.calls).toEqual([[2, 3]]));
    await eventually(async () => expect(await posted()).toEqual([1, 2, 3]));
  });

  it('lets one bad message of a batch die alone; the others take effect once, at their first attempt', async () => {
    ledger.fail = (ns) => (ns.includes(3) ? new Error('bad') : undefined);
    await lines(1, 2, 3, 4, 5);
    await eventually(async () => expect(await posted()).toEqual([1, 2, 4, 5]));
    await eventually(async () => expect(await deadLetters.list()).toMatchObject([{ error: 'Error: bad' }]));
    expect(ledger.calls).toEqual([[1, 2, 3, 4, 5], [1], [2], [3], [4], [5], [3]]);
    expect(application.incidents.filter(({ code }) => code === 'OUTBOX_BATCH_SPLIT')).toHaveLength(1);
    await untilAcknowledged();
  });

  it('postpones a whole batch while a server is down, uncounted, and does not split it', async () => {
    let failures = 4;
    const earlier = application.incidents.length;
    const down = new StoreUnavailableError({ store: 'x', operation: 'y', outcome: 'unknown' });
    ledger.fail = () => (failures-- > 0 ? down : undefined);
    await lines(1, 2, 3);
    await eventually(async () => expect(await posted()).toEqual([1, 2, 3]));
    expect(ledger.calls[0]).toEqual([1, 2, 3]);
    const codes = application.incidents.slice(earlier).map(({ code }) => code);
    expect(codes).not.toContain('OUTBOX_BATCH_SPLIT');
    expect(await deadLetters.list()).toEqual([]);
    await untilAcknowledged();
  });

  it('lets strict messages of a batch take their turns in it, and leaves out those that come too early', async () => {
    const [k1, k2, k3] = [1, 2, 3].map((n) => strictMessage('line', 'k', n)) as [Strict, Strict, Strict];
    const [m2, m3] = [2, 3].map((n) => strictMessage('line', 'm', n)) as [Strict, Strict];
    const route = { topic: 'line', consumer: 'ledger' };
    await transport.publish(route, [k3, m3, k1, m2, k2]);
    await eventually(async () => expect(await posted()).toEqual([1, 2, 3]));
    expect(ledger.calls).toEqual([[1, 2, 3]]);
    await transport.publish(route, [strictMessage('line', 'm', 1)]);
    await eventually(async () => expect(await posted()).toEqual([1, 2, 3, 1, 2, 3]));
    expect(await deadLetters.list()).toEqual([]);
  });

  it('gives pipes one body at a time, and the rest of Nest the call', async () => {
    await publish('checked', { n: 1 }, { n: 'x' }, { n: 3 });
    await eventually(async () => expect(await posted()).toEqual([1, 3]));
    await eventually(async () => expect(await deadLetters.list()).toHaveLength(1));
    expect(piped.filter((line) => line === 'interceptor checked 2')).toHaveLength(4);
    expect(new Set(piped.filter((line) => !line.startsWith('interceptor')))).toEqual(new Set(['body false']));
  });

  it('gives up on its own what was handed out for all its attempts, and not those beside it', async () => {
    const hands = new HandTransport();
    const transportOfHands = { useFactory: () => hands };
    const other = await startOutbox({
      url: postgres.url,
      providers: [Ledger],
      transport: transportOfHands,
      origin: 'b',
    });
    const route = { topic: 'line', consumer: 'ledger' };
    await eventually(() => expect(hands.isConsumed(route)).toBe(true));
    const [a, b, c] = [1, 2, 3].map((n) => ({ ...strictMessage('line', 'd', n), key: undefined, headers: {} }));
    const [one, two, three] = [a, b, c] as [Strict, Strict, Strict];
    const deliveries = [
      { message: one, attempt: 1 },
      { message: two, attempt: 3 },
      { message: three, attempt: 1 },
    ];
    expect(await hands.hand(route, ...deliveries)).toMatchObject([
      { outcome: 'done' },
      { outcome: 'dead', error: { message: expect.stringContaining('the process never answered') } },
      { outcome: 'done' },
    ]);
    expect(other.app.get(Ledger).calls).toEqual([[1, 3]]);
    // Its effect was committed before, and only the answer was lost.
    expect(await hands.hand(route, { message: one, attempt: 3 })).toMatchObject([{ outcome: 'done' }]);
    await other.app.close();
  });

  it('finishes what runs and gives the rest back, uncounted, when the application drains', async () => {
    let release: () => void = () => undefined;
    const other = await startOutbox({ url: postgres.url, providers: [Ledger], origin: 'other', run: { relay: false } });
    const theirs = other.app.get(Ledger);
    theirs.hold = new Promise<void>((resolve) => {
      release = resolve;
    });
    theirs.fail = (ns) => (ns.length > 1 ? new Error('not together') : undefined);
    const messages = [7, 8, 9].map((n) => ({ ...strictMessage('line', 'd', n), key: undefined, headers: {} }));
    await other.app.get<MessageTransport>(MESSAGE_TRANSPORT).publish({ topic: 'line', consumer: 'ledger' }, messages);
    await eventually(() => expect(theirs.calls).toEqual([[7, 8, 9]]));
    const closing = other.app.close();
    release();
    await closing;
    expect(theirs.calls).toEqual([[7, 8, 9]]);
    expect(await posted()).toEqual([]);
    expect(other.incidents.map(({ code }) => code)).not.toContain('DRAIN_INCOMPLETE');
  });
});

type Strict = ReturnType<typeof strictMessage>;
