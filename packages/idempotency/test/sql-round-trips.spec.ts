import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LONG_MS, request } from './support/begin-request.js';
import { COUNTED_SERVERS, type CountedServer } from './support/counted-server.js';
import { endLease } from './support/sql-servers.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-store.js';

const done = { to: 'completed', response: '"done"', retentionMs: LONG_MS } as const;

describe.each(COUNTED_SERVERS)('SqlIdempotencyStore on $name, as the server counts', ({ start, traces }) => {
  let server: CountedServer;
  let opened: OpenSqlStore;
  beforeAll(async () => {
    server = await start();
    opened = await openSqlStore(server.url);
    // What the first call of a process does besides.
    await opened.store.begin(request());
  }, 60_000);
  afterAll(async () => {
    await opened.close();
    await server.stop();
  });

  const counted = (work: () => Promise<unknown>) => server.statements(work);

  it('takes one statement for every operation, takeover included', async () => {
    const { store } = opened;
    const [first, retried] = [request(), request({ onLeaseExpiry: 'retry' })];
    expect(await counted(() => store.begin(first))).toBe(1);
    expect(await counted(() => store.begin({ ...first, owner: 'other' }))).toBe(1);
    expect(await counted(() => store.begin({ ...first, owner: 'other', isWaiting: true }))).toBe(1);
    expect(await counted(() => store.begin({ ...first, fingerprint: 'other' }))).toBe(1);
    expect(await counted(() => store.renew([first, retried]))).toBe(1);
    expect(await counted(() => store.saveStep(first, 'charge', '1'))).toBe(1);
    expect(await counted(() => store.settle(first, done))).toBe(1);
    expect(await counted(() => store.settle(first, done))).toBe(1);
    expect(await counted(() => store.begin({ ...first, owner: 'other' }))).toBe(1);
    await store.begin(retried);
    await endLease(opened.sql, retried.id);
    expect(await counted(() => store.begin({ ...retried, owner: 'next' }))).toBe(1);
    expect(await counted(() => store.sweep(10))).toBe(1);
    expect(await counted(() => store.listUncertain(10))).toBe(1);
    expect(await counted(() => store.resolve(first.id, { to: 'released', retentionMs: 1 }))).toBe(1);
    expect(await counted(() => store.adopt(first))).toBe(1);
    expect(await counted(() => store.issue(randomUUID(), LONG_MS))).toBe(1);
    expect(await counted(() => store.takeSingle('slot', 'token'))).toBe(1);
  });

  it('writes nothing for what a repetition is answered', async () => {
    const { store } = opened;
    const [running, ended, unknown] = [request(), request(), request()];
    for (const each of [running, ended, unknown]) await store.begin(each);
    await store.settle(ended, done);
    await store.settle(unknown, { to: 'uncertain' });
    await store.begin({ ...running, owner: 'waits', isWaiting: true });
    const before = await opened.sql.query(traces);
    for (const each of [running, ended, unknown]) {
      await store.begin({ ...each, owner: 'other' });
      await store.begin({ ...each, owner: 'other', isWaiting: true });
      await store.begin({ ...each, owner: 'other', fingerprint: 'other' });
    }
    expect(await opened.sql.query(traces)).toEqual(before);
  });
});
