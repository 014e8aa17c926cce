import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type {
  TransactionalOutcome,
  TransactionalRequest,
  TransactionalRun,
  TransactionalStore,
  TransactionalWork,
} from '../store-abilities.js';
import { POLL } from './contract-subject.js';

export interface OpenTransactionalStore {
  readonly store: TransactionalStore;
  /** A second one on the same database, as of another process. */
  readonly other: TransactionalStore;
  /** Writes an effect of that name in the transaction that is open. */
  write(name: string): Promise<void>;
  /** Whether the effect has been committed. */
  isWritten(name: string): Promise<boolean>;
  /** Runs `fn` in a transaction that the store has not begun. */
  inTransaction<T>(fn: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface TransactionalStoreHarness {
  /** The driver, as reports shall name it. */
  readonly name: string;
  /** Opens stores that no other test uses; called once. */
  open(): Promise<OpenTransactionalStore>;
}

const LONG_MS = 60_000;
const WAIT_MS = 10_000;

/** What every store with the ability {@link TransactionalStore} must keep. Call it at the top of a spec file. */
export function describeTransactionalStoreContract(harness: TransactionalStoreHarness): void {
  describe(`TransactionalStore contract: ${harness.name}`, () => {
    const subject = new TransactionalSubject();
    beforeAll(async () => subject.open(harness));
    afterAll(async () => subject.close());

    describeEnds(subject);
    describeRepetitions(subject);
    describeDuplicates(subject);
  });
}

function describeEnds(subject: TransactionalSubject): void {
  it('resolves to executed when the effect can be seen by others, and repetitions get the answer', async () => {
    const request = subject.request();
    expect(await subject.book(request)).toEqual({ outcome: 'executed', value: request.id });
    expect(await subject.isWritten(request.id)).toBe(true);
    const again = { outcome: 'completed', response: `answer ${request.id}` };
    expect(await subject.book(request)).toEqual(again);
    expect(await subject.book(request, subject.other)).toEqual(again);
  });

  it('rejects with what the work threw, by identity, and leaves nothing: the key is free for any payload', async () => {
    const request = subject.request();
    const failure = new Error('broken');
    const broken = subject.store.transact(request, async () => {
      await subject.write(request.id);
      throw failure;
    });
    await expect(broken).rejects.toBe(failure);
    expect(await subject.isWritten(request.id)).toBe(false);
    expect(await subject.book({ ...request, fingerprint: 'other' }, subject.other)).toMatchObject({
      outcome: 'executed',
    });
  });

  it('undoes the effects of a refusal and keeps its answer, so that it is not executed again (H7a)', async () => {
    const request = subject.request();
    const refusal = await subject.run(request, { response: 'refused', effects: 'undo' });
    expect(refusal).toEqual({ outcome: 'executed', value: request.id });
    expect(await subject.isWritten(request.id)).toBe(false);
    expect(await subject.book(request, subject.other)).toEqual({ outcome: 'completed', response: 'refused' });
  });

  it('keeps an operation without an answer as uncertain', async () => {
    const request = subject.request();
    await subject.run(request, { response: undefined, effects: 'undo' });
    expect(await subject.book(request)).toEqual({ outcome: 'uncertain' });
    expect(await subject.book({ ...request, fingerprint: 'other' }, subject.other)).toEqual({ outcome: 'mismatch' });
    expect(await subject.isWritten(request.id)).toBe(false);
  });

  it('refuses to begin inside of an open transaction, where its answer would leave before the commit', async () => {
    const request = subject.request();
    const joined = subject.inTransaction(() => subject.book(request));
    await expect(joined).rejects.toMatchObject({ code: 'TRANSACTION_MISUSE' });
    expect(await subject.isWritten(request.id)).toBe(false);
  });
}

function describeRepetitions(subject: TransactionalSubject): void {
  it('forgets an answer after its retention, and gives the next run a higher fence', async () => {
    const request = subject.request({ retentionMs: 200 });
    const first = await subject.fence(request);
    await vi.waitFor(async () => expect(await subject.fence(request, subject.other)).toBeGreaterThan(first), POLL);
  });

  it('gives an answer that is over to exactly one of many who ask for it again', async () => {
    const request = subject.request({ retentionMs: 1 });
    await subject.book(request);
    const late = { ...request, retentionMs: LONG_MS };
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, (_, index) => subject.book(late, index % 2 ? subject.store : subject.other)),
    );
    expect(outcomes.filter(({ outcome }) => outcome === 'executed')).toHaveLength(1);
    expect(outcomes.filter(({ outcome }) => outcome === 'completed')).toHaveLength(9);
  });

  it('raises the fence of an operation that was rolled back before', async () => {
    const request = subject.request();
    let first: bigint | undefined;
    const broken = subject.store.transact(request, async ({ fence }) => {
      first = fence;
      throw new Error('broken');
    });
    await expect(broken).rejects.toThrow('broken');
    expect(await subject.fence(request)).toBeGreaterThan(first ?? 0n);
  });
}

function describeDuplicates(subject: TransactionalSubject): void {
  it('runs the work once for many at the same time, here and in another process', async () => {
    const request = subject.request();
    let runs = 0;
    const storm = Array.from({ length: 20 }, (_, index) =>
      (index % 2 ? subject.store : subject.other).transact(request, async () => {
        runs += 1;
        return { response: 'once', value: index, effects: 'keep' };
      }),
    );
    const outcomes = await Promise.all(storm);
    expect(runs).toBe(1);
    expect(outcomes.filter(({ outcome }) => outcome === 'completed')).toHaveLength(19);
  });

  it.each(['store', 'other'] as const)('lets a duplicate lead that waited for a rollback: %s', async (where) => {
    const request = subject.request();
    const { first, end } = await subject.held(request);
    const second = subject.book(request, subject[where]);
    end(new Error('broken'));
    await expect(first).rejects.toThrow('broken');
    expect(await second).toEqual({ outcome: 'executed', value: request.id });
  });

  it('compares the payload of a duplicate after it has waited for the other process (H7b)', async () => {
    const request = subject.request();
    const { first, end } = await subject.held(request);
    const second = subject.book({ ...request, fingerprint: 'other' }, subject.other);
    end();
    expect((await first).outcome).toBe('executed');
    expect(await second).toEqual({ outcome: 'mismatch' });
  });

  it.each(['store', 'other'] as const)(
    'calls a duplicate busy at once that does not want to wait: %s',
    async (where) => {
      const request = subject.request({ waitMs: 0 });
      const { first, end } = await subject.held(request);
      expect(await subject.book(request, subject[where])).toEqual({ outcome: 'busy' });
      end();
      expect((await first).outcome).toBe('executed');
      expect(await subject.book(request, subject[where])).toMatchObject({ outcome: 'completed' });
    },
  );

  it.each(['store', 'other'] as const)('calls a duplicate busy when its wait is over: %s', async (where) => {
    const request = subject.request({ waitMs: 250 });
    const { first, end } = await subject.held(request);
    const startedAt = performance.now();
    expect(await subject.book(request, subject[where])).toEqual({ outcome: 'busy' });
    expect(performance.now() - startedAt).toBeGreaterThan(240);
    end();
    expect((await first).outcome).toBe('executed');
  });

  it('lets nobody wait for another operation', async () => {
    const { first, end } = await subject.held(subject.request({ waitMs: 0 }));
    for (const store of [subject.store, subject.other]) {
      expect(await subject.book(subject.request({ waitMs: 0 }), store)).toMatchObject({ outcome: 'executed' });
    }
    end();
    await first;
  });
}

/** The stores under test, and shorthands for what the facts need. */
class TransactionalSubject {
  private opened: OpenTransactionalStore | undefined;

  get store(): TransactionalStore {
    return this.harnessed.store;
  }

  get other(): TransactionalStore {
    return this.harnessed.other;
  }

  async open(harness: TransactionalStoreHarness): Promise<void> {
    this.opened = await harness.open();
  }

  async close(): Promise<void> {
    await this.opened?.close();
  }

  request(change: Partial<TransactionalRequest> = {}): TransactionalRequest {
    const id = randomBytes(32).toString('base64url');
    const owner = randomBytes(16).toString('hex');
    const operation = 'POST /bookings';
    return { id, owner, fingerprint: 'fp', operation, retentionMs: LONG_MS, waitMs: WAIT_MS, ...change };
  }

  write(name: string): Promise<void> {
    return this.harnessed.write(name);
  }

  isWritten(name: string): Promise<boolean> {
    return this.harnessed.isWritten(name);
  }

  inTransaction<T>(fn: () => Promise<T>): Promise<T> {
    return this.harnessed.inTransaction(fn);
  }

  book(request: TransactionalRequest, store = this.store): Promise<TransactionalOutcome<string>> {
    return this.run(request, { response: `answer ${request.id}`, effects: 'keep' }, store);
  }

  run(
    request: TransactionalRequest,
    end: Pick<TransactionalWork<string>, 'response' | 'effects'>,
    store = this.store,
  ): Promise<TransactionalOutcome<string>> {
    return store.transact(request, async () => {
      await this.write(request.id);
      return { ...end, value: request.id };
    });
  }

  /** The fence of a run; rejects where there was none. */
  async fence(request: TransactionalRequest, store = this.store): Promise<bigint> {
    const outcome = await store.transact<bigint>(request, async ({ fence }: TransactionalRun) => ({
      response: '',
      value: fence,
      effects: 'keep',
    }));
    if (outcome.outcome !== 'executed') throw new Error(`expected to run, got ${outcome.outcome}`);
    return outcome.value;
  }

  /** An operation whose work has begun and does not end before it is told to. */
  async held(request: TransactionalRequest): Promise<Held> {
    let end: Held['end'] = () => undefined;
    let first: Held['first'] | undefined;
    await new Promise<void>((entered) => {
      first = this.store.transact(request, async () => {
        await this.write(`held ${request.id}`);
        entered();
        const failure = await new Promise<Error | undefined>((resolve) => {
          end = resolve;
        });
        if (failure) throw failure;
        return { response: 'held', value: 'held', effects: 'keep' };
      });
    });
    return { first: first as Held['first'], end: (failure) => end(failure) };
  }

  private get harnessed(): OpenTransactionalStore {
    if (!this.opened) throw new Error('The stores are open from beforeAll on');
    return this.opened;
  }
}

interface Held {
  readonly first: Promise<TransactionalOutcome<string>>;
  readonly end: (failure?: Error) => void;
}
