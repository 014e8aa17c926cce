import { describe, expect, it } from 'vitest';
import type { Charge, Run, StepNote } from './idempotency/bank.js';
import type { Answer } from './idempotency/customers.js';
import { checkHistory, type History } from './idempotency/history.js';
import { checkLeaks } from './idempotency/leaks.js';
import type { Order, RouteName } from './idempotency/routes.js';

const KEY = 'k';
const receipt = '{"id":"c1","amount":5}';

function order(route: RouteName, more: Partial<Order> = {}): Order {
  return { key: KEY, route, kind: 'plain', amount: 5, thinkMs: 0, ...more };
}

function answer(at: number, more: Partial<Answer> = {}): Answer {
  const paid = { status: 201, code: '', text: receipt, location: '/charges/c1', isReplayed: false, isOther: false };
  return { sentAt: at - 1, at, ...paid, ...more };
}

function conflict(at: number, code: string): Answer {
  return answer(at, { status: 409, code, text: `{"code":"${code}"}`, location: '' });
}

function run(fence: number, sentAt: number | undefined, at = (sentAt ?? 0) + 1): Run {
  return { key: KEY, fence: BigInt(fence), sentAt, at };
}

function charge(id: string, fence = 1, step = 'charge'): Charge {
  return { key: KEY, step, fence: BigInt(fence), id };
}

function note(what: StepNote['what'], step: string, fence: number): StepNote {
  return { key: KEY, step, fence: BigInt(fence), what };
}

/** What is found wrong with a history that is sound but for what is given. */
function check(route: RouteName, more: Partial<History> = {}): string[] {
  const sound: History = {
    order: order(route),
    answers: [answer(20)],
    final: answer(90, { isReplayed: true }),
    runs: [run(1, 10)],
    charges: [charge('c1'), charge('s1', 1, 'ship')],
    steps: [],
    wereKills: true,
  };
  return checkHistory({ ...sound, ...more }).map((problem) => problem.slice(`${route} ${KEY}: `.length));
}

const uncertain = conflict(90, 'OPERATION_UNCERTAIN');

describe('the checker of histories', () => {
  it('finds nothing where a key has one run, one charge and one answer, whatever else is refused', () => {
    for (const route of ['cautious', 'patient', 'recovered', 'eager', 'keen'] as const) {
      expect(check(route)).toEqual([]);
      const refusals = [conflict(15, 'OPERATION_IN_PROGRESS'), answer(30, { status: 503, text: '' })];
      expect(check(route, { answers: [answer(20), ...refusals, answer(40, { isReplayed: true })] })).toEqual([]);
    }
  });

  it('finds a status that nothing explains, a 500 above all', () => {
    for (const status of [500, 404, 402, 422]) {
      expect(check('cautious', { answers: [answer(20), answer(30, { status, text: '' })] })).not.toEqual([]);
    }
    expect(check('cautious', { answers: [answer(20), conflict(30, 'STALE_CHARGE')] })).toHaveLength(1);
    expect(check('eager', { answers: [answer(20), conflict(30, 'STALE_CHARGE')] })).toEqual([]);
  });

  it('finds a repetition that differs in its body, its headers or its status', () => {
    for (const other of [{ text: '{"id":"c1","amount":6}' }, { location: '' }, { status: 402 }]) {
      expect(check('eager', { answers: [answer(20), answer(30, other)] })).not.toEqual([]);
      expect(check('eager', { final: answer(90, other) })).not.toEqual([]);
    }
  });

  it('finds an answer to another payload', () => {
    expect(check('eager', { answers: [answer(20), answer(30, { isOther: true })] })).toHaveLength(1);
    expect(check('eager', { answers: [answer(20), answer(30, { status: 422, isOther: true, text: '' })] })).toEqual([]);
  });

  it('finds money that moved twice, not at all, or of another charge than was told', () => {
    expect(check('eager', { charges: [charge('c1'), charge('c2', 2)] })).toEqual(['charge was booked 2 times']);
    expect(check('eager', { charges: [] })).toHaveLength(1);
    expect(check('eager', { charges: [charge('c2')] })).toHaveLength(1);
    expect(check('recovered', { charges: [charge('c1')] })).toHaveLength(1);
    const declined = answer(20, { status: 402, text: '{}' });
    const decline = { order: order('eager', { kind: 'decline' }), answers: [declined], final: declined };
    expect(check('eager', { ...decline, charges: [] })).toEqual([]);
    expect(check('eager', decline)).toEqual(['it was declined, and charge was booked']);
  });

  it('finds a second run where nobody may run again, and a run after the answer', () => {
    expect(check('cautious', { runs: [run(1, 10), run(2, 11)] })).toEqual(['the handler ran 2 times']);
    expect(check('recovered', { runs: [run(1, 10), run(2, undefined, 15)] })).toEqual([]);
    expect(check('recovered', { runs: [run(1, 10), run(2, 25)] })).toHaveLength(1);
    expect(check('eager', { runs: [run(1, 10), run(2, 25)] })).toEqual([]);
    const declined = answer(20, { status: 402, text: '{}' });
    const again = { order: order('recovered', { kind: 'decline' }), answers: [declined], final: declined, charges: [] };
    expect(check('recovered', { ...again, runs: [run(1, 10), run(2, 25)] })).toEqual([]);
  });

  it('finds fences that repeat, and a later run under a lower one', () => {
    expect(check('eager', { runs: [run(1, 10), run(1, 10)] })).toEqual(['two runs have the fence 1']);
    expect(check('eager', { runs: [run(2, 10), run(1, 12)] })).toHaveLength(1);
    // The first may have begun after the second: it waited for a store that was slow.
    expect(check('eager', { runs: [run(2, 10, 14), run(1, 12)] })).toEqual([]);
  });

  it('finds a step that ran again though it was stored, and one that ran twice in one run', () => {
    const touched = note('touched', 'charge', 1);
    expect(check('eager', { steps: [touched, note('touched', 'charge', 2)] })).toEqual([]);
    const again = [touched, note('stored', 'charge', 1), note('touched', 'charge', 2)];
    expect(check('eager', { steps: again })).toEqual(['step charge was stored under 1 and ran again under 2']);
    expect(check('eager', { steps: [touched, touched] })).toEqual(['step charge ran twice under 1']);
  });

  it('finds a run of what was uncertain after a run, but for completers', () => {
    const history = { answers: [conflict(9, 'OPERATION_UNCERTAIN'), answer(20)], runs: [run(1, 5), run(2, 10)] };
    expect(check('eager', history)).toEqual(['a run under 2 began after it was called uncertain']);
    expect(check('recovered', history)).toEqual([]);
    // A begin without an answer was taken back.
    expect(check('cautious', { ...history, runs: [run(2, 10)] })).toEqual([]);
  });

  it('finds what never settles, and what stays uncertain where somebody should have gone on', () => {
    expect(check('cautious', { final: undefined })).toHaveLength(1);
    expect(check('cautious', { final: conflict(90, 'OPERATION_IN_PROGRESS') })).toHaveLength(1);
    expect(check('cautious', { final: uncertain })).toEqual([]);
    expect(check('recovered', { final: uncertain })).toEqual(['it stays uncertain']);
    expect(check('keen', { final: uncertain })).toEqual(['it stays uncertain']);
  });

  it('finds an uncertain key that nobody has worked at, where no process died', () => {
    const idle = { answers: [], runs: [], charges: [], final: uncertain };
    expect(check('cautious', idle)).toEqual([]);
    expect(check('cautious', { ...idle, wereKills: false })).toEqual(['it is uncertain, and no handler was started']);
  });

  it('finds an answer to what its owner has called unknown', () => {
    const unknown = { order: order('eager', { kind: 'unknown' }), answers: [] };
    expect(check('eager', { ...unknown, final: uncertain })).toEqual([]);
    expect(check('eager', unknown)).toEqual(['its owner called it unknown, and it is settled']);
  });
});

describe('the search for leaks', () => {
  const record = (state: string, ttlMs: number) => ({ key: 'ns:idem:{b01}:x', ttlMs, state });
  const index = (name: string) => ({ key: `ns:idem:{b01}:${name}`, ttlMs: -1, state: '' });

  it('lets answers and releases end by themselves, and what is uncertain stay with its index', () => {
    expect(checkLeaks([record('C', 10), record('R', 10)])).toEqual([]);
    expect(checkLeaks([record('U', -1), index('uncertain')])).toEqual([]);
  });

  it('finds records without an end, what still runs, and indexes that name nothing', () => {
    expect(checkLeaks([record('C', -1)])).toHaveLength(1);
    expect(checkLeaks([record('P', 10)])).toHaveLength(1);
    expect(checkLeaks([record('U', 10), index('uncertain')])).toHaveLength(1);
    expect(checkLeaks([record('C', 10), index('uncertain')])).toHaveLength(1);
    expect(checkLeaks([index('running')])).toHaveLength(1);
  });
});
