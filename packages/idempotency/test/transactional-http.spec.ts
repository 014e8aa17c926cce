import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { IdempotencyService } from '@lockstep/idempotency';
import { sqlIdempotencyStore } from '@lockstep/idempotency/sql';
import { SqlModule } from '@lockstep/sql';
import { eventually } from '@lockstep/testing';
import type { ExecutionContext } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BOOKING_TABLE, Bookings, BookingsController, STAY_TABLES } from './support/bookings.controller.js';
import { type Answer, type HttpApp, problem, send, startHttpApp } from './support/http-app.js';
import { gate, runs } from './support/orders.controller.js';
import { SQL_SERVERS } from './support/sql-servers.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-stores.js';

const REPLAYED = 'idempotent-replayed';
const POOL = 5;
/** InnoDB looks at its transactions anew only when nobody has asked for a tenth of a second. */
const SLOWLY = { intervalMs: 150 };
/** Requests by user, as they ask for their scope. */
const arrived = new Map<string, number>();

function arrivedUser(context: ExecutionContext): string {
  const { headers } = context.switchToHttp().getRequest<{ headers: Record<string, string | undefined> }>();
  const user = headers['x-user'] ?? 'anonymous';
  arrived.set(user, (arrived.get(user) ?? 0) + 1);
  return user;
}

const CASES = SQL_SERVERS.flatMap((server) =>
  (['express', 'fastify'] as const).map((platform) => ({ server, platform })),
);

describe.each(CASES)('a route that is one transaction, on $platform and $server.name', ({ server, platform }) => {
  const database = server.use();
  let observer: OpenSqlStore;
  const apps: HttpApp[] = [];
  let url: string;
  let otherUrl: string;

  beforeAll(async () => {
    observer = await openSqlStore(database.url);
    await observer.sql.execute(BOOKING_TABLE);
    if (server.name === 'postgres') await observer.sql.execute(STAY_TABLES);
    for (let count = 0; count < 2; count += 1) {
      apps.push(
        await startHttpApp({
          platform,
          controllers: [BookingsController],
          providers: [Bookings],
          imports: [SqlModule.forRoot({ driver: server.driver(database.url, POOL) })],
          store: sqlIdempotencyStore(),
          options: { onConcurrent: { wait: '10s' }, scope: arrivedUser },
        }),
      );
    }
    [url, otherUrl] = apps.map((app) => `${app.url}/bookings`) as [string, string];
  });
  afterAll(async () => {
    await Promise.all(apps.map((app) => app.close()));
    await observer.close();
  });

  const seenByOthers = async (text: string, params: readonly unknown[] = []) =>
    (await observer.sql.query(text, params)).length;
  const rows = (name: string) => seenByOthers('SELECT 1 AS one FROM booking WHERE name = $1', [name]);
  const records = () => seenByOthers('SELECT 1 AS one FROM lockstep_idempotency');
  const fresh = () => ({ key: randomUUID(), name: randomUUID() });
  const seen = ({ status, text, headers }: Answer) => [status, text, headers.get(REPLAYED)];

  it('commits effect and answer together, and gives repetitions on any node the same answer', async () => {
    const { key, name } = fresh();
    const first = await send(url, { key, body: { name } });
    expect(seen(first)).toEqual([201, expect.stringContaining('"times":1'), null]);
    expect(seen(await send(url, { key, body: { name } }))).toEqual([201, first.text, 'true']);
    expect(seen(await send(otherUrl, { key, body: { name } }))).toEqual([201, first.text, 'true']);
    expect(await rows(name)).toBe(1);
  });

  it('gives ten concurrent duplicates on two nodes one business row and the same answer', async () => {
    const { key, name } = fresh();
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) => send(index % 2 ? url : otherUrl, { key, body: { name } })),
    );
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(answers[0]?.status).toBe(201);
    expect(answers.filter(({ headers }) => headers.get(REPLAYED) === null)).toHaveLength(1);
    expect(await rows(name)).toBe(1);
  });

  it('H7a: a stored 4xx leaves no business row and is not executed again, but replayed exactly', async () => {
    const { key, name } = fresh();
    const first = await send(`${url}/missing/${name}`, { key });
    const again = await send(`${otherUrl}/missing/${name}`, { key });
    expect(seen(first)).toEqual([404, `{"code":"NO_SUCH_ROOM","times":1}`, null]);
    expect(seen(again)).toEqual([404, first.text, 'true']);
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    expect([await rows(name), runs.get(`missing ${name}`)]).toEqual([0, 1]);
  });

  it('H7b: a duplicate with another payload waits for the open transaction of another node, and then is a mismatch', async () => {
    const { key, name } = fresh();
    const other = fresh().name;
    const first = send(`${url}/held/${name}`, { key });
    await eventually(() => expect(runs.get(`held ${name}`)).toBe(1));
    let isAnswered = false;
    const second = send(`${otherUrl}/held/${name}?other=${other}`, { key }).finally(() => {
      isAnswered = true;
    });
    await eventually(async () => expect(await seenByOthers(server.waiters)).toBeGreaterThan(0), SLOWLY);
    expect(isAnswered).toBe(false);
    gate(name).open();
    expect((await first).status).toBe(201);
    expect(problem(await second)).toMatchObject({ status: 422, code: 'IDEMPOTENCY_KEY_REUSED' });
  });

  it('H7b: on the same node another payload is a mismatch at once, also while the transaction is open', async () => {
    const { key, name } = fresh();
    const first = send(`${url}/held/${name}`, { key });
    await eventually(() => expect(runs.get(`held ${name}`)).toBe(1));
    const other = await send(`${url}/held/${name}?other=1`, { key });
    expect(problem(other)).toMatchObject({ status: 422, code: 'IDEMPOTENCY_KEY_REUSED' });
    gate(name).open();
    expect((await first).status).toBe(201);
  });

  it('H7c: duplicates that could fill the pool wait without a connection, so that the owner gets its second one', async () => {
    const { key, name } = fresh();
    const target = `${url}/second-connection/${name}`;
    const first = send(target, { key, user: name });
    await eventually(() => expect(runs.get(`second ${name}`)).toBe(1));
    const duplicates = Array.from({ length: POOL }, () => send(target, { key, user: name }));
    // As many as the pool has connections: were they to wait with one, none would be left.
    await eventually(() => expect(arrived.get(name)).toBe(POOL + 1));
    await eventually(async () => expect(await seenByOthers(server.inTransaction)).toBe(1), SLOWLY);
    gate(name).open();
    const answers = await Promise.all([first, ...duplicates]);
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`))).toEqual(
      new Set([`201 ${(await first).text}`]),
    );
    expect(await rows(name)).toBe(1);
  });

  it('ends the wait of a client that leaves, and not the work that it waits for', async () => {
    const { key, name } = fresh();
    const target = `${url}/held/${name}`;
    const first = send(target, { key, user: name });
    await eventually(() => expect(runs.get(`held ${name}`)).toBe(1));
    const refusals: string[] = [];
    const stop = (apps[0] as HttpApp).app
      .get(IdempotencyService)
      .subscribe((event) => event.type === 'refused' && refusals.push(event.reason));
    const client = new AbortController();
    const headers = { 'idempotency-key': key, 'x-user': name };
    const waiting = fetch(target, { method: 'POST', headers, signal: client.signal });
    await eventually(() => expect(arrived.get(name)).toBe(2));
    client.abort();
    await expect(waiting).rejects.toThrow('aborted');
    await eventually(() => expect(refusals).toEqual(['busy']));
    stop();
    gate(name).open();
    expect((await first).status).toBe(201);
    expect(await rows(name)).toBe(1);
  });

  it('H7d: the answer leaves after the commit, when others can see the row', async () => {
    const { key, name } = fresh();
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify({ name }),
    });
    // The head of the answer is here, its body has not been read.
    expect([response.status, await rows(name)]).toEqual([201, 1]);
    await response.text();
  });

  it.runIf(server.name === 'postgres')(
    'H7d: a commit that the database refuses is an error, never a 201; nothing is stored and the key is free',
    async () => {
      const { key, name } = fresh();
      const before = await records();
      const target = `${url}/deferred/${name}`;
      expect((await send(target, { key })).status).toBe(500);
      expect([await rows(name), await records()]).toEqual([0, before]);
      await observer.sql.execute('INSERT INTO room VALUES ($1)', [name]);
      expect(seen(await send(target, { key }))).toEqual([201, '{"times":2}', null]);
    },
  );

  it('H7e: with onConcurrent reject a duplicate on another node is refused at once, and nobody else is', async () => {
    const { key, name } = fresh();
    const first = send(`${url}/at-once/${name}`, { key, user: 'ab' });
    await eventually(() => expect(runs.get(`held ${name}`)).toBe(1));
    for (const node of [url, otherUrl]) {
      const duplicate = await send(`${node}/at-once/${name}`, { key, user: 'ab' });
      expect(problem(duplicate)).toMatchObject({ status: 409, code: 'OPERATION_IN_PROGRESS' });
      expect(duplicate.headers.get('retry-after')).toBe('1');
    }
    gate(name).open();
    expect((await first).status).toBe(201);
  });

  it('H7e: scope and key that make the same text together are two operations, also to the lock', async () => {
    const { name } = fresh();
    const key = `${randomUUID()}`;
    const first = send(`${url}/at-once/${name}`, { key: `b${key}`, user: 'a' });
    await eventually(() => expect(runs.get(`held ${name}`)).toBe(1));
    const second = send(`${otherUrl}/at-once/${name}`, { key, user: 'ab' });
    await eventually(() => expect(runs.get(`held ${name}`)).toBe(2));
    gate(name).open();
    expect([(await first).status, (await second).status]).toEqual([201, 201]);
    expect(await rows(name)).toBe(2);
  });

  it.each(['conflict', 'not-applied'])(
    'rolls everything back where the error says %s, and runs again',
    async (path) => {
      const { key, name } = fresh();
      const before = await records();
      const target = `${url}/${path}/${name}`;
      const answers = [await send(target, { key }), await send(target, { key })];
      expect(answers.map(({ status }) => status)).toEqual(path === 'conflict' ? [409, 409] : [400, 400]);
      expect([runs.get(`${path} ${name}`), await rows(name), await records()]).toEqual([2, 0, before]);
    },
  );

  it('rolls everything back where the handler breaks, so that the next try starts from nothing', async () => {
    const { key, name } = fresh();
    expect((await send(`${url}/broken/${name}`, { key })).status).toBe(500);
    expect(await rows(name)).toBe(0);
    expect(seen(await send(`${url}/broken/${name}`, { key }))).toEqual([201, '{"times":2}', null]);
    expect(await rows(name)).toBe(1);
  });

  it('keeps the key, uncertain, and no effect where the handler says that its outcome elsewhere is unknown', async () => {
    const { key, name } = fresh();
    expect((await send(`${url}/outcome-unknown/${name}`, { key })).status).toBe(504);
    const again = await send(`${otherUrl}/outcome-unknown/${name}`, { key });
    expect(problem(again)).toMatchObject({ status: 409, code: 'OPERATION_UNCERTAIN', safeNewKey: false });
    expect([runs.get(`outcome-unknown ${name}`), await rows(name)]).toEqual([1, 0]);
  });

  it('stores an error that onError calls the answer, without its effects', async () => {
    const { key, name } = fresh();
    const answers = [await send(`${url}/kept/${name}`, { key }), await send(`${url}/kept/${name}`, { key })];
    expect(answers.map(seen)).toEqual([
      [503, '{"times":1}', null],
      [503, '{"times":1}', 'true'],
    ]);
    expect(await rows(name)).toBe(0);
  });

  it('judges a status that the handler sets as if it had been thrown', async () => {
    const { key, name } = fresh();
    const answers = [
      await send(`${url}/refusing/${name}`, { key }),
      await send(`${otherUrl}/refusing/${name}`, { key }),
    ];
    expect(answers.map(seen)).toEqual([
      [422, '{"times":1}', null],
      [422, '{"times":1}', 'true'],
    ]);
    expect(await rows(name)).toBe(0);
    const unavailable = await send(`${url}/refusing/${name}?status=503`, { key: randomUUID() });
    expect(seen(unavailable)).toEqual([503, '{"times":2}', null]);
    expect(await rows(name)).toBe(0);
  });

  it('rolls back where the handler sends its answer itself, before the commit', async () => {
    const { key, name } = fresh();
    const before = await records();
    await send(`${url}/by-hand/${name}`, { key });
    await eventually(async () => expect(await seenByOthers(server.inTransaction)).toBe(0), SLOWLY);
    expect([await rows(name), await records()]).toEqual([0, before]);
    await send(`${otherUrl}/by-hand/${name}`, { key });
    expect(runs.get(`by-hand ${name}`)).toBe(2);
  });

  it('stores nothing of a request that a pipe refuses', async () => {
    const { key } = fresh();
    const before = await records();
    expect((await send(`${url}/piped/x`, { key })).status).toBe(400);
    expect(await records()).toBe(before);
  });

  it.each(['stream', 'observable'])('refuses a returned %s, which would be read after the commit', async (path) => {
    const { key, name } = fresh();
    const answer = await send(`${url}/${path}/${name}`, { key });
    expect(problem(answer)).toMatchObject({ status: 500, code: 'IDEMPOTENCY_ANSWER_OUTSIDE_TRANSACTION' });
    expect(await rows(name)).toBe(0);
  });

  it.runIf(server.name === 'postgres')('refuses to commit behind a statement that failed and was caught', async () => {
    const { key, name } = fresh();
    const answer = await send(`${url}/swallowed/${name}`, { key });
    expect(problem(answer)).toMatchObject({ status: 500, code: 'TRANSACTION_ABORTED' });
    expect(await rows(name)).toBe(0);
  });

  it.runIf(server.name === 'postgres')(
    'runs again what the database cannot serialize, and the handler sees it; the response starts anew',
    async () => {
      const { key, name } = fresh();
      const running = send(`${url}/only/${name}`, { key });
      await eventually(() => expect(runs.get(`only ${name}`)).toBe(1));
      gate(`only other-${name}`).open();
      expect((await send(`${otherUrl}/only/other-${name}`, { key: randomUUID() })).status).toBe(201);
      gate(`only ${name}`).open();
      const answer = await running;
      expect(problem(answer)).toMatchObject({ recovered: true });
      expect([runs.get(`only ${name}`), await rows(name), answer.status]).toEqual([2, 1, 202]);
      expect([answer.headers.get('x-run-1'), answer.headers.get('x-run-2')]).toEqual([null, 'yes']);
    },
  );
});
