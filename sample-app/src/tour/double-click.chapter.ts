import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import { describeAnswer } from './client.js';
import type { Narrator } from './narrator.js';
import type { Stage } from './stage.js';

/** Two clicks at the same moment and one more later: one order, and everybody hears of the same one. */
export async function doubleClick(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter('A double click places one order, and the repetition gets the first answer');
  const sku = await stage.newProduct(5);
  const shopper = stage.shopper();
  const key = randomUUID();

  narrator.sent(`POST /orders {"sku":"${sku}","qty":1}  Idempotency-Key: ${key}  (twice at the same moment)`);
  const clicks = await Promise.all([shopper.order(sku, 1, key), shopper.order(sku, 1, key)]);
  for (const click of clicks) narrator.received(describeAnswer(click));

  narrator.sent('the same request once more, a moment later');
  const again = await shopper.order(sku, 1, key);
  narrator.received(describeAnswer(again));
  narrator.sent('the same key with another body');
  const other = await shopper.order(sku, 2, key);
  narrator.received(describeAnswer(other));

  const first = clicks.find((click) => click?.status === 201 && !click.replayed);
  const orders = await shopper.orders();
  narrator.expect('one order exists', orders.length === 1, orders);
  narrator.expect(
    'the third click got the first answer again',
    again?.replayed === true && again.body.id === first?.body.id,
    again,
  );
  narrator.expect('another body under the same key is refused with 422', other?.status === 422, other);
  narrator.expect('one piece left the shelf', (await shopper.piecesLeft(sku)) === 4, await shopper.piecesLeft(sku));
  await eventually(async () => {
    const { entries } = await shopper.points();
    if (entries !== 1) throw new Error(`${String(entries)} entries`);
  });
  const points = await shopper.points();
  narrator.received(`GET /points  ${JSON.stringify(points)}`);
  narrator.expect('the points were granted once', points.entries === 1, points);
}
