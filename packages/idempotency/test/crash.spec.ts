import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { type ChildHandle, eventually, spawnNode } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, problem, send } from './support/http-app.js';

const server = useRedis();
const script = new URL('./support/crash-app.mjs', import.meta.url);

interface Process {
  readonly child: ChildHandle;
  readonly url: string;
}

async function start(policy: string, killAt?: string): Promise<Process> {
  const env = { REDIS_URL: server.url, NAMESPACE: server.prefix, POLICY: policy };
  const child = spawnNode(script, { env, ...(killAt === undefined ? {} : { killAt }) });
  const message = (await child.waitForMessage(() => true)) as { readonly url: string };
  return { child, url: `${message.url}/payments` };
}

async function crashDuring(killAt: string, policy: string, key: string): Promise<void> {
  const { child, url } = await start(policy, killAt);
  await expect(send(url, { key })).rejects.toThrow();
  expect((await child.exited).signal).toBe('SIGKILL');
}

describe('a process that is killed', () => {
  let cautious: Process;
  let eager: Process;
  beforeAll(async () => {
    [cautious, eager] = await Promise.all([start('uncertain'), start('retry')]);
  });
  afterAll(async () => {
    await Promise.all([cautious.child.sigkill(), eager.child.sigkill()]);
  });

  it.each(['idempotency.claimed', 'handler', 'idempotency.executed'])(
    'at %s blocks its key: busy within the lease, then uncertain',
    async (killAt) => {
      const key = randomUUID();
      await crashDuring(killAt, 'uncertain', key);
      expect(problem(await send(cautious.url, { key }))).toMatchObject({ status: 409, code: 'OPERATION_IN_PROGRESS' });
      const after = await afterLease(cautious.url, key);
      expect(problem(after)).toMatchObject({ status: 409, code: 'OPERATION_UNCERTAIN', safeNewKey: false });
    },
  );

  it('in the handler is taken over by the next request where the policy is retry, with a higher fence', async () => {
    const key = randomUUID();
    await crashDuring('handler', 'retry', key);
    expect((await send(eager.url, { key })).status).toBe(409);
    const after = await afterLease(eager.url, key);
    expect(after.status).toBe(201);
    expect(problem(after)).toMatchObject({ pid: eager.child.pid, recovered: true });
  });

  it('after its answer was stored is answered for by the others', async () => {
    const key = randomUUID();
    await crashDuring('idempotency.settled', 'uncertain', key);
    const after = await send(cautious.url, { key });
    expect([after.status, after.headers.get('idempotent-replayed')]).toEqual([201, 'true']);
  });

  it('or stopped beyond its lease and goes on as a zombie changes nothing of what the next owner stored', async () => {
    const key = randomUUID();
    const paused = spawnNode(script, {
      env: { REDIS_URL: server.url, NAMESPACE: server.prefix, POLICY: 'retry' },
      pauseAt: 'handler',
    });
    const { url: base } = (await paused.waitForMessage(() => true)) as { readonly url: string };
    const zombie = send(`${base}/payments`, { key });
    await paused.reached('handler');
    const winner = await afterLease(eager.url, key);
    expect(problem(winner)).toMatchObject({ pid: eager.child.pid, recovered: true });
    paused.sigcont();
    expect((await zombie).status).toBe(201);
    expect((await send(eager.url, { key })).text).toBe(winner.text);
    await paused.sigkill();
  });
});

async function afterLease(url: string, key: string): Promise<Answer> {
  return eventually(async () => {
    const answer = await send(url, { key });
    expect(answer.text).not.toContain('OPERATION_IN_PROGRESS');
    return answer;
  });
}
