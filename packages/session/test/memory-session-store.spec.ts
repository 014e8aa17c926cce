import 'reflect-metadata';
import { randomBytes } from 'node:crypto';
import { MemorySessionStore } from '@lockstep/session';
import { describeSessionStoreContract } from '@lockstep/session/contract';
import { describe, expect, it } from 'vitest';

describeSessionStoreContract({ name: 'memory', open: async () => ({ store: new MemorySessionStore() }) });

describe('MemorySessionStore', () => {
  it('does not grow beyond the sessions that have not run out', async () => {
    let nowMs = 1_000;
    const store = new MemorySessionStore({ nowMs: () => nowMs });
    for (let i = 0; i < 2_000; i += 1) {
      nowMs += 1;
      const group = `g${i}`;
      const key = { id: randomBytes(32).toString('base64url'), group };
      const draft = { key, idleMs: 10, absoluteMs: 20, principal: i % 2 === 0 ? 'somebody' : undefined, meta: '' };
      await store.create({ draft, attributes: new Map([['cart', '1']]) });
      const renewed = { ...draft, key: { id: randomBytes(32).toString('base64url'), group } };
      await store.replace({ from: key, draft: renewed, manner: 'renew', graceMs: 5 });
      await store.load({ key: renewed.key, touchAfterMs: 0 });
    }
    expect(store.size).toBeLessThan(300);
  });
});
