import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { type EncryptionOptions, type IdempotencyEvent, operationId } from '@lockstep/idempotency';
import { RedisConnection } from '@lockstep/redis';
import { useRedis } from '@lockstep/testing/vitest';
import { afterEach, describe, expect, it } from 'vitest';
import { recordKey } from './support/redis-keys.js';
import { openServiceApp, type ServiceApp } from './support/service-app.js';

const server = useRedis();
const OLD = 'an old secret that only the tests ever know';
const NEW = 'a new secret that only the tests ever know';
const opened: ServiceApp[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((app) => app.close()));
});

async function open(encryption?: EncryptionOptions): Promise<ServiceApp> {
  const app = await openServiceApp(server, encryption === undefined ? {} : { encryption });
  opened.push(app);
  return app;
}

function work() {
  return { scope: 'test', operation: 'charge', key: randomUUID(), payload: 1 };
}

const again = (): Promise<never> => Promise.reject(new Error('it ran again'));

describe('encrypted answers', () => {
  it('are unreadable in the store, steps included, and replayed as they were', async () => {
    const { service, module } = await open({ keys: { one: NEW }, current: 'one' });
    const operation = work();
    const redis = module.get(RedisConnection);
    const stored = async () =>
      JSON.stringify(await redis.command('test', 'hgetall', recordKey(redis, operationId(operation))));
    const result = await service.run(operation, async (idem) => {
      await idem.phase('card', async () => 'card 4242');
      expect(await stored()).not.toContain('4242');
      return { name: 'Ада 🔑' };
    });
    expect(await stored()).not.toContain('Ада');
    expect(await service.run(operation, again)).toEqual(result);
  });

  it('survive a change of the key while the old one is kept, and are refused, not run, without it', async () => {
    const operation = work();
    await (await open({ keys: { old: OLD }, current: 'old' })).service.run(operation, async () => 'secret');
    const both = await open({ keys: { old: OLD, new: NEW }, current: 'new' });
    expect(await both.service.run(operation, again)).toBe('secret');
    const without = await open({ keys: { new: NEW }, current: 'new' });
    await expect(without.service.run(operation, again)).rejects.toMatchObject({ code: 'OPERATION_RESULT_UNAVAILABLE' });
    expect(without.incidents.map(({ code }) => code)).toContain('ANSWER_NOT_DECRYPTED');
  });

  it('cannot be put in the place of one another, changed, or replaced by plain text', async () => {
    const { service, module } = await open({ keys: { one: NEW }, current: 'one' });
    const redis = module.get(RedisConnection);
    const [mine, yours] = [work(), work()];
    await service.run(mine, async () => 'mine');
    await service.run(yours, async () => 'yours');
    const key = (operation: typeof mine) => recordKey(redis, operationId(operation));
    const foreign = String(await redis.command('test', 'hget', key(mine), 'rs'));
    for (const text of [foreign, `${foreign.slice(0, -2)}AA`, '{"value":"forged"}', 'e1.', 'e1.one...']) {
      await redis.command('test', 'hset', key(yours), 'rs', text);
      await expect(service.run(yours, again)).rejects.toMatchObject({ code: 'OPERATION_RESULT_UNAVAILABLE' });
    }
  });

  it('stand beside plain ones for as long as the module accepts them', async () => {
    const operation = work();
    await (await open()).service.run(operation, async () => 'plain');
    const accepting = await open({ keys: { one: NEW }, current: 'one', acceptPlain: true });
    expect(await accepting.service.run(operation, again)).toBe('plain');
  });

  it.each([
    { keys: { one: 'short' }, current: 'one' },
    { keys: { one: NEW }, current: 'two' },
    { keys: { 'one two': NEW }, current: 'one two' },
    {} as never,
  ])('with wrong keys stop the boot, and no secret is in the message', async (encryption) => {
    await expect(open(encryption)).rejects.toSatisfy(
      (error: Error) => error.message.includes('encryption') && !error.message.includes('short'),
    );
  });
});

describe('events', () => {
  it('tell what happens to operations, and a listener that fails harms nobody', async () => {
    const { service, incidents } = await open();
    const heard: IdempotencyEvent[] = [];
    const leave = service.subscribe((event) => heard.push(event));
    service.subscribe(() => {
      throw new Error('a broken listener');
    });
    const operation = work();
    await service.run(operation, async () => 1);
    await service.run(operation, again);
    await expect(service.run({ ...operation, payload: 2 }, again)).rejects.toThrow();
    leave();
    await service.run(operation, again);
    const id = operationId(operation);
    expect(heard.map(({ type }) => type)).toEqual(['begun', 'completed', 'replayed', 'refused']);
    expect(heard.every((event) => event.id === id && event.operation === 'charge')).toBe(true);
    expect(incidents.map(({ code }) => code)).toContain('IDEMPOTENCY_LISTENER_FAILED');
  });
});
