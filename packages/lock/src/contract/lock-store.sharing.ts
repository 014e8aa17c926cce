import { expect } from 'vitest';
import { type Fact, LONG_MS, type Subject } from './subject.js';

export function describeReaders(subject: Subject, fact: Fact): void {
  const reader = { capacity: Number.POSITIVE_INFINITY, ttlMs: LONG_MS };

  fact('lets readers in together, and no writer beside them', async () => {
    const first = await subject.hold(reader);
    const second = await subject.hold({ ...reader, key: first.key }, true);
    expect(await subject.ask(first.key)).toMatchObject({ status: 'busy' });
    await subject.release(first);
    expect(await subject.ask(first.key)).toMatchObject({ status: 'busy' });
    await subject.release(second, true);
    await subject.hold({ key: first.key });
  });

  fact('lets no reader in beside a writer', async () => {
    const writer = await subject.hold({ ttlMs: LONG_MS });
    expect(await subject.ask(writer.key, reader, true)).toMatchObject({ status: 'busy' });
  });

  fact('lets all readers in when the writer before them is done', async () => {
    const writer = await subject.hold({ ttlMs: LONG_MS });
    const readers = [false, true, false].map((side) =>
      subject.hold({ ...reader, key: writer.key, waitMs: LONG_MS }, side),
    );
    for (const waiting of readers) await subject.settle(waiting);
    await subject.release(writer);
    expect(await Promise.all(readers)).toHaveLength(3);
  });

  fact('does not let readers starve a writer that waits', async () => {
    const first = await subject.hold(reader);
    const writer = subject.hold({ key: first.key, waitMs: LONG_MS, ttlMs: LONG_MS }, true);
    await subject.settle(writer);
    expect(await subject.ask(first.key, reader)).toMatchObject({ status: 'busy' });
    await subject.release(first);
    await subject.release(await writer, true);
    await subject.hold({ ...reader, key: first.key });
  });
}

export function describePermits(subject: Subject, fact: Fact): void {
  const permit = { capacity: 2, ttlMs: LONG_MS };

  fact('gives out as many permits as there are, and one more when one comes back', async () => {
    const first = await subject.hold(permit);
    await subject.hold({ ...permit, key: first.key }, true);
    expect(await subject.ask(first.key, permit)).toMatchObject({ status: 'busy' });
    const next = subject.hold({ ...permit, key: first.key, waitMs: LONG_MS }, true);
    await subject.settle(next);
    await subject.release(first);
    await next;
    expect(await subject.ask(first.key, permit)).toMatchObject({ status: 'busy' });
  });

  fact('never gives out more permits than there are to many who ask at once', async () => {
    const key = subject.key();
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, n) => subject.ask(key, { ...permit, capacity: 3 }, n % 2 === 1)),
    );
    expect(outcomes.filter(({ status }) => status === 'granted')).toHaveLength(3);
  });
}
