import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { LONG_MS, type Subject } from './subject.js';

export function describeRelease(subject: Subject): void {
  it('frees the lock for others', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    expect(await subject.release(holder)).toEqual({ status: 'released' });
    await subject.hold({ key: holder.key }, true);
  });

  it('does nothing for a token that is not the owner', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    expect(await subject.release({ ...holder, token: randomUUID() }, true)).toEqual({ status: 'not-held' });
    expect(await subject.ask(holder.key)).toMatchObject({ status: 'busy' });
  });

  it('answers a second release as not held', async () => {
    const holder = await subject.hold();
    await subject.release(holder);
    expect(await subject.release(holder)).toEqual({ status: 'not-held' });
  });

  it('releases many at once, each on its own', async () => {
    const first = await subject.hold({ ttlMs: LONG_MS });
    const second = await subject.hold({ ttlMs: LONG_MS });
    const outcomes = await subject.store.release([first, { ...first, token: randomUUID() }, second]);
    expect(outcomes.map(({ status }) => status)).toEqual(['released', 'not-held', 'released']);
  });
}

export function describeInspection(subject: Subject, names: 'requests' | 'sessions'): void {
  it('tells who holds a key and what its fence is, also to another process', async () => {
    const { key, token, fence } = await subject.hold({ ttlMs: LONG_MS });
    const state = await subject.inspect(key, true);
    const named = state.holders.map((holder) => holder.token);
    expect(named).toEqual(names === 'requests' ? [token] : [expect.any(String)]);
    if (state.fence !== undefined) expect(state.fence).toBe(fence);
  });

  it('tells that a key is free', async () => {
    const held = await subject.hold();
    await subject.release(held);
    expect(await subject.inspect(held.key)).toMatchObject({ holders: [], waiters: 0 });
    expect(await subject.inspect(subject.key())).toMatchObject({ holders: [], waiters: 0 });
  });

  it('lets an operator take the lock from whoever has it, and its holder learns so', async () => {
    const held = await subject.hold({ ttlMs: LONG_MS });
    const [holder] = (await subject.inspect(held.key, true)).holders;
    expect(await subject.release({ ...held, token: holder?.token ?? '' }, true)).toEqual({ status: 'released' });
    await subject.hold({ key: held.key }, true);
    expect(await subject.extend(held, LONG_MS)).toMatchObject({ status: 'lost' });
  });
}
