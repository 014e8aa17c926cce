import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import { describeAnswer } from './client.js';
import type { Narrator } from './narrator.js';
import type { Shopper } from './shopper.js';
import type { Stage } from './stage.js';

const PATIENCE = { timeoutMs: 60_000, intervalMs: 200 };

/** The process dies when the bank has charged: the check-back asks the bank, and a partner who was out is told once. */
export async function chargedOrder(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter(
    'The process dies when the bank has charged; the check-back asks the bank, and a partner shop is told',
  );
  const sku = await stage.newProduct(1);
  await stage.close();
  await stage.open({ killAt: 'mall.payment.charged' });
  const shopper = stage.shopper();
  const order = (await shopper.order(sku, 1, randomUUID()))?.body.id;
  const charges = stage.bank.count;
  stage.partner.goOut(1);
  narrator.sent(`POST /orders/${String(order)}/payment`);
  narrator.received(describeAnswer(await shopper.pay(order, randomUUID())));
  narrator.say(`the process died by ${await stage.died()} with the money at the bank and nothing in the books`);

  await stage.open();
  narrator.say('a new process is up; nobody asks for anything. After some seconds it asks the bank');
  await eventually(async () => {
    if ((await statusOf(shopper)) !== 'paid') throw new Error('not paid yet');
  }, PATIENCE);
  narrator.received(`GET /orders  ${JSON.stringify(await shopper.orders())}`);
  narrator.expect('the bank charged once', stage.bank.count - charges === 1, stage.bank.count - charges);
  const ledger = await stage.staff().ledger();
  narrator.expect('the books balance with the bank', ledger.bankCents === stage.bank.cents, ledger);

  narrator.say('the partner shop is out when it is told the first time');
  await eventually(async () => {
    if (stage.partner.timesTold(order) === 0) throw new Error('not told yet');
  }, PATIENCE);
  const told = stage.partner.timesTold(order);
  narrator.expect('the partner shop was told of the paid order, signed, under one id', told === 1, told);
}

async function statusOf(shopper: Shopper): Promise<unknown> {
  return (await shopper.orders())[0]?.status;
}
