import { randomUUID } from 'node:crypto';
import { describeAnswer, describeRefusal } from './client.js';
import type { Narrator } from './narrator.js';
import type { Shopper } from './shopper.js';
import type { Stage } from './stage.js';

const TEA_POT_CENTS = 4_200;

/** The bank charges but answers too late: nobody tries again before it was asked, and then everybody hears the same. */
export async function payment(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter('The bank answers too late; nobody pays twice, and an operator clears up what happened');
  const shopper = stage.shopper();
  const order = await placed(stage, shopper);
  const key = randomUUID();
  const charged = stage.bank.cents;
  stage.bank.fail('late');

  narrator.sent(`POST /orders/${order}/payment  Idempotency-Key: ${key}`);
  narrator.received(describeAnswer(await shopper.pay(order, key)));
  narrator.sent('the same request again');
  const repeated = await shopper.pay(order, key);
  narrator.received(describeRefusal(repeated));
  narrator.expect(
    'it is refused while the outcome is unknown',
    repeated?.body.code === 'OPERATION_UNCERTAIN' && repeated.body.safeNewKey === false,
    repeated,
  );
  const other = await shopper.pay(order, randomUUID());
  narrator.expect('so is another key for the same order', other?.body.code === 'PAYMENT_PENDING', other);

  await cleared(stage, narrator, repeated?.body.id);
  narrator.sent('the same request again');
  const receipt = await shopper.pay(order, key);
  narrator.received(describeAnswer(receipt));
  narrator.expect('it gets its receipt', receipt?.status === 201 && receipt.body.cents === TEA_POT_CENTS, receipt);
  narrator.expect('the bank charged once', stage.bank.cents - charged === TEA_POT_CENTS, stage.bank.cents - charged);
  const ledger = await stage.staff().ledger();
  narrator.received(`GET /payments/ledger  ${JSON.stringify(ledger)}`);
  narrator.expect('the books of the mall balance', ledger.sumCents === 0, ledger);
}

async function placed(stage: Stage, shopper: Shopper): Promise<string> {
  const answer = await shopper.order(await stage.newProduct(1), 1, randomUUID());
  if (answer?.status !== 201) throw new Error(`The order was not placed: ${describeAnswer(answer)}`);
  return String(answer.body.id);
}

async function cleared(stage: Stage, narrator: Narrator, id: unknown): Promise<void> {
  narrator.sent('GET /payments/uncertain  (an operator)');
  const list = (await stage.staff().uncertainPayments())?.body as unknown as readonly Record<string, unknown>[];
  const listed = list.find((one) => one.id === id);
  narrator.received(JSON.stringify(listed));
  narrator.expect('the payment is listed with what the bank was asked for', listed?.payment !== undefined, list);
  narrator.sent('POST /payments/uncertain/…/clear-up  (asks the bank)');
  const answer = await stage.staff().clearUp(id);
  narrator.received(describeAnswer(answer));
  narrator.expect('the bank says that it was paid', answer?.body.status === 'paid', answer);
}
