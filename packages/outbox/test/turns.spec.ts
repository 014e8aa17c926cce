import { Incidents } from '@lockstep/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockedKeys } from '../dist/consumer/blocked-keys.js';
import { withoutEarly } from '../dist/consumer/early-messages.js';
import { OutOfTurnError } from '../dist/consumer/gate.errors.js';
import { RetryPauses } from '../dist/consumer/retry-pauses.js';
import { type Place, placeOf, turnOf } from '../dist/consumer/turn.js';
import { byTurn, inTurnOrder } from '../dist/consumer/turn-order.js';
import { strictMessage } from './support/strict-messages.js';

/** A consumer as the gate sees it: what the inbox knows, and where the key stands. */
class Consumer {
  private stored: { generation: number; n: number } | undefined;
  private readonly known = new Set<string>();
  readonly effects: string[] = [];

  receive(id: string, place: Place): string {
    if (this.known.has(id)) return 'copy';
    const stored = this.stored ?? { generation: place.sequence.generation, n: place.before };
    const turn = turnOf(place, stored);
    if (turn === 'early' || turn === 'past') return turn;
    this.known.add(id);
    this.stored = place.sequence;
    this.effects.push(`${place.sequence.generation}.${place.sequence.n}`);
    return turn;
  }
}

const place = (n: number, generation: number, before = 0): Place => ({
  topic: 'step',
  key: 'k',
  sequence: { generation, n },
  before,
  isSkipped: false,
});

describe('Turns', () => {
  it('of all orders, copies and generations, only the sequence itself takes effect, and nothing twice', () => {
    const deliveries = fc.array(
      fc.record({ generation: fc.integer({ min: 1, max: 3 }), n: fc.integer({ min: 1, max: 5 }) }),
      {
        minLength: 20,
        maxLength: 80,
      },
    );
    fc.assert(
      fc.property(deliveries, fc.integer({ min: 0, max: 3 }), (list, before) => {
        const consumer = new Consumer();
        for (const { generation, n } of list) consumer.receive(`${generation}.${n}`, place(n, generation, before));
        const generations = consumer.effects.map((effect) => Number(effect.split('.')[0]));
        expect(generations).toEqual([...generations].sort((a, b) => a - b));
        for (const generation of new Set(generations)) {
          const ns = consumer.effects
            .filter((one) => one.startsWith(`${generation}.`))
            .map((one) => Number(one.split('.')[1]));
          expect(ns).toEqual(ns.map((_, index) => before + 1 + index));
        }
      }),
      { numRuns: 500 },
    );
  });

  it('takes none for a copy that the inbox does not know', () => {
    const consumer = new Consumer();
    expect(consumer.receive('a', place(1, 2))).toBe('next');
    expect(consumer.receive('b', place(1, 2))).toBe('past');
    expect(consumer.receive('c', place(9, 1))).toBe('past');
    expect(consumer.receive('d', place(2, 3))).toBe('early');
    expect(consumer.receive('e', place(1, 3))).toBe('restarted');
    expect(consumer.receive('a', place(1, 2))).toBe('copy');
  });

  it('lets a consumer that subscribed anew go on with what it still gets of before', () => {
    expect(turnOf(place(5, 1, 7), { generation: 1, n: 4 })).toBe('next');
    expect(turnOf(place(8, 1, 7), { generation: 1, n: 5 })).toBe('next');
    expect(turnOf(place(6, 1, 7), { generation: 1, n: 8 })).toBe('past');
  });

  it('reads its place from the headers, a start of another generation left aside', () => {
    const headers = { 'Lockstep-Sequence-Start': '7.4' };
    expect(placeOf(strictMessage('step', 'k', 9, { generation: 7, ...headers }))).toMatchObject({ before: 3 });
    expect(placeOf(strictMessage('step', 'k', 9, { generation: 8, ...headers }))).toMatchObject({ before: 0 });
    expect(placeOf({ topic: 'step', key: 'k', headers: {} })).toBeUndefined();
  });

  it('brings strict messages into sequence, in their own places, and keys into one order for locking', () => {
    const [a1, a2, b1, b2] = [
      ['a', 1],
      ['a', 2],
      ['b', 1],
      ['b', 2],
    ].map(([key, n]) => strictMessage('step', String(key), Number(n))) as [Strict, Strict, Strict, Strict];
    const plain = { ...strictMessage('step', 'a', 1), headers: {} };
    const given = [b2, a2, plain, b1, a1];
    expect(inTurnOrder(given, (one) => one)).toEqual([b1, a1, plain, b2, a2]);
    expect(byTurn(given)).toEqual([plain, a1, a2, b1, b2]);
  });
});

describe('Blocked keys', () => {
  const incidents = new Incidents();
  const codes: string[] = [];
  incidents.subscribe(({ code }) => codes.push(code));
  const early = (n: number, last: string) => new OutOfTurnError(place(n, 1), last);

  it('are asked for less and less often, between 20 ms and 30 s, until they move', () => {
    let nowMs = 0;
    const blocked = new BlockedKeys('steps', incidents, () => nowMs);
    expect(blocked.pauseFor(early(3, '1.1'))).toBe(20);
    nowMs = 8_000;
    expect(blocked.pauseFor(early(4, '1.1'))).toBe(2_000);
    nowMs = 3_600_000;
    expect(blocked.pauseFor(early(3, '1.1'))).toBe(30_000);
    expect(blocked.pauseFor(early(4, '1.2'))).toBe(20);
  });

  it('have those asked for first whose turn is next, each about when those before it have taken effect', () => {
    const blocked = new BlockedKeys('steps', incidents, () => 0);
    const pauses = [3, 4, 5, 100, 1_501].map((n) => blocked.pauseFor(early(n, '1.1')));
    expect(pauses).toEqual([20, 40, 60, 1_960, 29_980]);
    // Of a later generation only those of its own are before it, and of a key begun in the middle those from there on.
    expect(blocked.pauseFor(new OutOfTurnError(place(3, 2), '1.9'))).toBe(40);
    expect(blocked.pauseFor(new OutOfTurnError(place(30, 1, 27), '1.9'))).toBe(40);
  });

  it('spare the database those that cannot have their turn yet, for no longer than the steps before them take', () => {
    let nowMs = 1_000;
    const blocked = new BlockedKeys('steps', incidents, () => nowMs);
    const isSpared = (n: number) => blocked.stillEarly(place(n, 1)) !== undefined;
    expect(isSpared(100)).toBe(false);
    blocked.pauseFor(early(5, '1.1'));
    expect([2, 3, 6, 100].map(isSpared)).toEqual([false, true, true, true]);
    nowMs += 79;
    expect([2, 3, 5, 6, 100].map(isSpared)).toEqual([false, false, false, true, true]);
    nowMs += 921;
    expect(isSpared(100)).toBe(false);
    blocked.pauseFor(early(100, '1.1'));
    expect(blocked.stillEarly(place(100, 1))).toMatchObject({ delayMs: 1_960, error: { code: 'MESSAGE_OUT_OF_TURN' } });
    blocked.moved(place(4, 1));
    expect([5, 6].map(isSpared)).toEqual([false, true]);
  });

  it('let those go on that follow on each other in one batch, and spare those behind a gap', () => {
    const blocked = new BlockedKeys('steps', incidents, () => 0);
    blocked.pauseFor(early(9, '1.1'));
    const deliveries = [2, 3, 4, 6, 7].map((n) => ({
      message: strictMessage('step', 'k', n, { generation: 1 }),
      attempt: 1,
    }));
    const { due, early: spared } = withoutEarly(deliveries, blocked);
    expect(due).toEqual(deliveries.slice(0, 3));
    expect([...spared.keys()]).toEqual(deliveries.slice(3));
  });

  it('have no more than forty a second come back that are far from their turn, and those near it at once', () => {
    let nowMs = 0;
    const blocked = new BlockedKeys('steps', incidents, () => nowMs);
    const far = Array.from({ length: 400 }, () => blocked.pauseFor(early(50, '1.1')));
    expect(Math.min(...far)).toBe(960);
    expect(far.at(-1)).toBe(10_000);
    expect(blocked.pauseFor(early(3, '1.1'))).toBe(20);
    nowMs = 10_000;
    expect(blocked.pauseFor(early(50, '1.2'))).toBe(940);
  });

  it('are as quick as any once they move, however many were sent back while they were blocked', () => {
    let nowMs = 0;
    const blocked = new BlockedKeys('steps', incidents, () => nowMs);
    for (let n = 0; n < 10_000; n += 1) blocked.pauseFor(early(50, '1.1'));
    nowMs = 30_000;
    expect(blocked.pauseFor(early(50, '1.2'))).toBe(940);
  });

  it('are reported once a minute, when they have been blocked for one', () => {
    let nowMs = 0;
    codes.length = 0;
    const blocked = new BlockedKeys('steps', incidents, () => nowMs);
    for (nowMs = 0; nowMs < 180_000; nowMs += 1_000) blocked.pauseFor(early(3, '1.1'));
    expect(codes).toEqual(['OUTBOX_KEY_BLOCKED', 'OUTBOX_KEY_BLOCKED']);
  });
});

describe('The pause of an outage', () => {
  const options = { firstPauseMs: 1_000, longestPauseMs: 300_000 };

  it('is the same for a whole batch that meets a moment of it, and doubles only when it lasts', () => {
    let nowMs = 0;
    const pauses = new RetryPauses(options, () => nowMs);
    for (let message = 0; message < 100; message += 1) expect(pauses.afterOutage()).toBeLessThanOrEqual(1_200);
    const longest = [];
    for (nowMs = 1_200; nowMs < 600_000; nowMs += 1_200) longest.push(pauses.afterOutage());
    expect(longest[0]).toBeGreaterThanOrEqual(1_600);
    expect(longest[0]).toBeLessThanOrEqual(2_400);
    expect(longest.at(-1)).toBeGreaterThanOrEqual(24_000);
    pauses.answered();
    expect(pauses.afterOutage()).toBeLessThanOrEqual(1_200);
  });
});

type Strict = ReturnType<typeof strictMessage>;
