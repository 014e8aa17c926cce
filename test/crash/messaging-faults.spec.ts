import { OUTBOX_STORE, type OutboxStore } from '@lockstep/outbox';
import { type ChildHandle, eventually, startFaultProxy } from '@lockstep/testing';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FAST, KEPT } from './messaging/errand.js';
import { emptyDatabase, type Shop, Stage } from './messaging/stage.js';

/**
 * The fault matrix of messages: what strikes, and where it is shown that each committed message has its one effect.
 *
 * | # | fault | shown by |
 * |---|---|---|
 * | 1 | killed before COMMIT | `packages/outbox/test/crash.spec.ts` (`outbox.appended`, `sql.commit.before`) |
 * | 2 | killed after COMMIT, before anybody was woken | the same (`sql.commit.after`) |
 * | 3 | relay killed at each of its steps | here; `packages/outbox/test/crash.spec.ts`, `order.spec.ts` (`outbox.claimed`, `outbox.published`) |
 * | 4 | relay stopped past its lease | `packages/outbox/test/crash.spec.ts`; `messaging.spec.ts` |
 * | 5 | two relays that believe they own a shard | here |
 * | 6 | Redis down, empty, out of memory | `messaging-outages.spec.ts` |
 * | 7 | database restarted, COMMIT unanswered | `messaging-outages.spec.ts`; `packages/outbox/test/outage.spec.ts` (connections cut) |
 * | 8 | copies | `messaging-limits.spec.ts`; `packages/outbox/test/consuming.spec.ts` |
 * | 9 | consumer killed around its commit; event loop blocked | `packages/outbox/test/crash.spec.ts`, `order.spec.ts`; here |
 * | 10 | poison: kills, always fails, cannot be read, too large | `packages/outbox/test/{crash,consuming,publishing}.spec.ts`, `packages/bullmq/test/crash.spec.ts` |
 * | 11 | a transaction that stays open | `messaging-outages.spec.ts` |
 * | 12 | sequence gap, early transaction id | `messaging-outages.spec.ts` |
 * | 13 | savepoint rolled back after publish | `packages/outbox/test/publishing.spec.ts`, the contract of `OutboxStore`; `messaging.spec.ts` |
 * | 14 | publish outside of a transaction, in an ended one, side by side, in an inner one | `packages/outbox/test/publishing.spec.ts`; `messaging-limits.spec.ts` |
 * | 15 | half message: killed at each step, check-back beside work that goes on, late join, late commit | `packages/outbox/test/transactional-message{,.crash,.interleaving}.spec.ts`, `check-back.spec.ts` |
 * | 16 | webhook: no answer, 3xx, 410, 429 with Retry-After, rotated secrets, private addresses | `packages/outbox/test/notifications/{delivery,signature,targets,crash}.spec.ts` |
 * | 17 | SIGTERM under load | here |
 * | 18 | clocks that differ | `messaging-limits.spec.ts` |
 * | 19 | a long backlog | `messaging-limits.spec.ts` |
 * | 20 | inbox that forgets too early | `messaging-limits.spec.ts` |
 */
const postgres = usePostgres();
const redis = useRedis();
/** Of a process, on a machine that is busy with others. */
const START_MS = 30_000;
let stage: Stage;

beforeEach(async () => {
  await emptyDatabase(postgres.url);
  stage = await Stage.open({ databaseUrl: postgres.url, brokerUrl: redis.url });
});
afterEach(() => stage?.close());

describe('a relay that is killed', { timeout: 60_000 }, () => {
  it.each([
    ['outbox.overdue', KEPT],
    ['outbox.published', FAST],
    ['outbox.settled', FAST],
  ])('at %s loses and doubles nothing (%s)', async (killAt, topic) => {
    await stage.send(30, { topic });
    const victim = stage.spawn(['relay'], { killAt });
    expect(await victim.exited).toMatchObject({ signal: 'SIGKILL' });
    await stage.shop(['relay', 'consumer']);
    await stage.balanced();
    expect(victim.unhandledRejections).toEqual([]);
  });

  it('with half of its batch on the wire loses and doubles nothing', async () => {
    await using proxy = await startFaultProxy({ target: redis.url });
    const victim = stage.spawn(['relay'], {
      brokerUrl: proxy.urlFor(redis.url),
      pauseAt: 'outbox.claimed',
      outbox: { leaseTtl: 30_000 },
    });
    await isReady(victim);
    await stage.send(40, { filler: 'x'.repeat(6_000) });
    await victim.reached('outbox.claimed', START_MS);
    proxy.refuse();
    proxy.dropAfter(60_000, 'toServer');
    const open = proxy.connections;
    const isCut = (): void => {
      // Again and again: it says that it has reached the checkpoint before it stops.
      victim.sigcont();
      expect(proxy.connections).toBeLessThan(open);
    };
    await eventually(isCut, { timeoutMs: 10_000 });
    await victim.sigkill();
    // Its other shards have waited beside the one that it stood still in, and would for as long as its lease runs.
    await stage.desk.sql.execute("UPDATE lockstep_lease SET lease_until = '-infinity'");
    await stage.shop(['relay', 'consumer']);
    await stage.balanced();
  });
});

describe('two relays that both believe they own a shard', { timeout: 60_000 }, () => {
  it('move each message once between them, and nothing is lost or doubled', async () => {
    const patient = { outbox: { leaseTtl: 60_000, batchSize: 5 } };
    const claims = [claimsOf(await stage.shop(['relay'], patient))];
    const { sql } = stage.desk;
    const owners = async (): Promise<number> =>
      (await sql.query('SELECT 1 FROM lockstep_lease WHERE lease_until > clock_timestamp()')).length;
    await eventually(() => expect(owners()).resolves.toBe(2), { timeoutMs: START_MS });
    await sql.execute("UPDATE lockstep_lease SET lease_until = '-infinity'");
    claims.push(claimsOf(await stage.shop(['relay'], patient)));
    await eventually(() => expect(owners()).resolves.toBe(2), { timeoutMs: START_MS });
    for (let n = 0; n < 30; n += 1) await stage.send(10);
    await stage.shop(['consumer']);
    await stage.balanced();
    const claimed = claims.flat();
    expect(new Set(claimed).size).toBe(claimed.length);
    expect(claims.map((own) => own.length > 0)).toEqual([true, true]);
  });
});

/** Names of the deliveries that a relay is given from now on. */
function claimsOf({ app }: Shop): readonly string[] {
  const store = app.get<OutboxStore>(OUTBOX_STORE);
  const claim = store.claim.bind(store);
  const names: string[] = [];
  store.claim = async (request) => {
    const claimed = await claim(request);
    names.push(...claimed.deliveries.map(({ message, consumer }) => `${message.id} ${consumer}`));
    return claimed;
  };
  return names;
}

describe('a consumer', { timeout: 90_000 }, () => {
  it('whose event loop stands still for longer than its lock handles a message twice, with one effect', async () => {
    const consumers = [stage.spawn(['consumer']), stage.spawn(['relay', 'consumer'])];
    await Promise.all(consumers.map(isReady));
    await stage.send(1, { fate: 'blocking' });
    await eventually(() => expect(sumOfHits(consumers, 'outbox.consumer.committed')).toBeGreaterThan(2), {
      timeoutMs: 15_000,
    });
    await stage.balanced();
  });

  it('that is told to stop under load finishes what it has begun: nothing is lost, and nothing handed out twice', async () => {
    // Nothing is left to the scan, whose copies would be counted, too.
    const never = { outbox: { redeliverAfter: 60_000, redeliverAtMost: 60_000 } };
    const [first, second] = [stage.spawn(['relay', 'consumer'], never), stage.spawn(['consumer'], never)];
    await Promise.all([first, second].map(isReady));
    for (let n = 0; n < 10; n += 1) await stage.send(20);
    await first.reached({ name: 'outbox.consumer.committed', hit: 20 }, 20_000);
    const toldAt = performance.now();
    first.sigterm();
    expect(await first.exited).toEqual({ code: 0, signal: null });
    expect(performance.now() - toldAt).toBeLessThan(12_000);
    const heir = stage.spawn(['relay'], never);
    await stage.balanced();
    expect(sumOfHits([first, second, heir], 'outbox.consumer.committed')).toBe(400);
    expect([first, second].flatMap(({ lines }) => lines.filter((line) => line.includes('STALLED')))).toEqual([]);
  });
});

async function isReady(child: ChildHandle): Promise<void> {
  await child.waitForMessage(() => true, START_MS);
}

function sumOfHits(children: readonly ChildHandle[], checkpoint: string): number {
  return children.reduce((sum, child) => sum + child.hits(checkpoint), 0);
}
