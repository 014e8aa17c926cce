import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import { describeAnswer } from './client.js';
import type { Narrator } from './narrator.js';
import type { Shopper } from './shopper.js';
import type { Stage } from './stage.js';

const PIECES = 2;
const PAY_WITHIN = '3s';
const PATIENCE = { timeoutMs: 30_000, intervalMs: 100 };

/** What an order brought about is taken back when nobody pays; a delayed message wakes, the row decides. */
export async function unpaidOrder(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter('An order that nobody pays is released, and everybody hears of it in its order');
  const sku = await stage.newProduct(PIECES);
  const instance = await stage.openBeside({}, { MALL_PAY_WITHIN: PAY_WITHIN });
  const shopper = stage.shopper(instance);
  narrator.say(`at this instance an order is to be paid within ${PAY_WITHIN}`);
  narrator.sent(`POST /orders {"sku":"${sku}","qty":${PIECES}}`);
  narrator.received(describeAnswer(await shopper.order(sku, PIECES, randomUUID())));

  await eventually(async () => demand((await stateOf(shopper, sku)).coupons === 1), PATIENCE);
  const placed = await stateOf(shopper, sku);
  narrator.received(JSON.stringify(placed));
  narrator.expect('the order has its points and its coupon', placed.points === 1 && placed.coupons === 1, placed);

  narrator.say('nobody pays');
  await eventually(async () => demand((await stateOf(shopper, sku)).pieces === PIECES), PATIENCE);
  await eventually(async () => demand((await stateOf(shopper, sku)).coupons === 0), PATIENCE);
  await eventually(async () => demand((await stateOf(shopper, sku)).points === 0), PATIENCE);
  const released = await stateOf(shopper, sku);
  narrator.received(JSON.stringify(released));
  narrator.expect('the order is released', released.status === 'released', released);
  narrator.expect('its pieces are back on the shelf, once', released.pieces === PIECES, released);
  narrator.expect('points and coupon are taken back', released.points === 0 && released.coupons === 0, released);
}

interface State {
  readonly status: unknown;
  readonly pieces: unknown;
  readonly points: unknown;
  readonly coupons: number;
}

async function stateOf(shopper: Shopper, sku: string): Promise<State> {
  const [orders, pieces, points, coupons] = [
    await shopper.orders(),
    await shopper.piecesLeft(sku),
    await shopper.points(),
    await shopper.coupons(),
  ];
  return { status: orders[0]?.status, pieces, points: points.entries, coupons: coupons.length };
}

function demand(reached: boolean): void {
  if (!reached) throw new Error('not yet');
}
