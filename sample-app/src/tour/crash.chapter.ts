import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '@lockstep/testing';
import { type Answer, describeAnswer, describeRefusal } from './client.js';
import type { Narrator } from './narrator.js';
import type { Shopper } from './shopper.js';
import type { Stage } from './stage.js';

const GIVE_UP_MS = 30_000;

/** The process dies after the commit, before anybody was told; another one makes good of it. */
export async function crash(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter('The process is killed between the commit and the relay');
  const sku = await stage.newProduct(3);
  await stage.close();
  await stage.open({ killAt: 'mall.order.committed' });
  const shopper = stage.shopper();
  const key = randomUUID();

  narrator.sent(`POST /orders {"sku":"${sku}","qty":1}  Idempotency-Key: ${key}`);
  narrator.received(describeAnswer(await shopper.order(sku, 1, key)));
  narrator.say(`the process died by ${await stage.died()} right after its commit`);

  await stage.open();
  narrator.say('a new process is up; the client repeats its request until it gets an answer');
  const answer = await repeat(shopper, sku, key, narrator);

  const orders = await shopper.orders();
  narrator.expect('the repetition is answered with the order', answer?.body.id === orders[0]?.id, { answer, orders });
  narrator.expect('one order exists', orders.length === 1, orders);
  await eventually(
    async () => {
      if ((await shopper.points()).entries !== 1) throw new Error('the points are not there yet');
    },
    { timeoutMs: GIVE_UP_MS },
  );
  const points = await shopper.points();
  narrator.received(`GET /points  ${JSON.stringify(points)}`);
  narrator.expect('the points arrived, once', points.entries === 1, points);
}

async function repeat(shopper: Shopper, sku: string, key: string, narrator: Narrator): Promise<Answer | undefined> {
  const giveUpAt = performance.now() + GIVE_UP_MS;
  const refusals = new Map<string, number>();
  narrator.sent('the same request');
  for (;;) {
    const answer = await shopper.order(sku, 1, key);
    if (answer?.status === 201 || performance.now() > giveUpAt) {
      for (const [refusal, times] of refusals) narrator.received(`${refusal} × ${times}`);
      narrator.received(describeAnswer(answer));
      return answer;
    }
    const refusal = describeRefusal(answer);
    refusals.set(refusal, (refusals.get(refusal) ?? 0) + 1);
    await sleep((answer?.retryAfterS ?? 1) * 1_000);
  }
}
