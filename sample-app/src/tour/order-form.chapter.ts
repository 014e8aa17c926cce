import { describeAnswer, describeRefusal } from './client.js';
import type { Narrator } from './narrator.js';
import type { Stage } from './stage.js';

/** A form without a header of its own: the page before it brings a token, which is good for one submit. */
export async function orderForm(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter('A form is submitted once by the token of the page before, and a submit that failed gives it back');
  const sku = await stage.newProduct(1);
  const shopper = stage.shopper();
  narrator.sent(`GET /orders/confirm?sku=${sku}&qty=2`);
  const page = await shopper.confirm(sku, 2);
  narrator.received(describeAnswer(page));
  const token = page?.body.orderToken;

  narrator.sent('POST /orders/submit  with that orderToken, though only one piece is left');
  const refused = await shopper.submit(sku, 2, token);
  narrator.received(describeRefusal(refused));
  narrator.expect('it is refused as sold out', refused?.body.code === 'SOLD_OUT', refused);
  await stage.staff().restock(sku, 3);
  narrator.say('the warehouse puts three pieces on the shelf');

  narrator.sent('POST /orders/submit  the same form  (twice at the same moment, and once more)');
  const clicks = await Promise.all([shopper.submit(sku, 2, token), shopper.submit(sku, 2, token)]);
  const again = await shopper.submit(sku, 2, token);
  for (const answer of [...clicks, again]) narrator.received(describeAnswer(answer));
  const orders = await shopper.orders();
  narrator.expect('the token was still good, and one order exists', orders.length === 1, orders);
  const isReplayed = again?.replayed === true && again.body.id === orders[0]?.id;
  narrator.expect('the last submit got the order again', isReplayed, again);

  narrator.sent('POST /orders/submit  with the token, by another buyer');
  const thief = await stage.shopper().submit(sku, 2, token);
  narrator.received(describeRefusal(thief));
  narrator.expect('the token is of no use to others', thief?.body.code === 'IDEMPOTENCY_TOKEN_INVALID', thief);
}
