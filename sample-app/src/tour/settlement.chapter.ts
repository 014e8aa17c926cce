import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '@lockstep/testing';
import { Client } from 'pg';
import { type Answer, describeAnswer } from './client.js';
import type { MallProcess } from './mall-process.js';
import type { Narrator } from './narrator.js';
import type { Shopper } from './shopper.js';
import type { Stage } from './stage.js';

const CLAIMED = 'mall.settlement.claimed';
const TEA_POT_CENTS = 4_200;
const GIVE_UP_MS = 15_000;
const PAUSE_MS = 100;
const BOOKED = { timeoutMs: 20_000, intervalMs: 50 };

/** Money is paid once, although two instances are called for it, and although one stands still or dies in the middle. */
export async function settlement(stage: Stage, narrator: Narrator): Promise<void> {
  const end = stage.locksExpire ? 'stopped' : 'killed';
  narrator.chapter(`At night two instances settle with the merchants; then one of them is ${end} in the middle`);
  const second = await stage.openBeside();
  const at = stage.locksExpire ? { pauseAt: CLAIMED } : { killAt: CLAIMED };
  const [third] = await Promise.all([stage.openBeside(at), sameMoment(stage, narrator, second)]);
  await (stage.locksExpire ? stoppedHolder : killedHolder)(stage, narrator, third);
}

async function sameMoment(stage: Stage, narrator: Narrator, second: MallProcess): Promise<void> {
  const merchants = await merchantsWithSales(stage, [1, 2]);
  narrator.say(
    'two merchants have sold 1 and 2 tea pots, which are paid; the orders are dated back two days, so that their day is over',
  );
  narrator.sent('POST /settlement/run  (to two instances at the same moment)');
  const answers = await Promise.all([stage.staff().settle(), stage.staff(second).settle()]);
  for (const answer of answers) narrator.received(describeAnswer(answer));

  const states = answers.map((answer) => answer?.body.status);
  const isOnce = states.includes('done') && states.includes('skipped');
  narrator.expect('one instance settled, the other skipped', isOnce, states);
  await expectBalanced(stage, narrator, merchants, [1, 2]);
}

async function stoppedHolder(stage: Stage, narrator: Narrator, third: MallProcess): Promise<void> {
  const merchants = await merchantsWithSales(stage, [2, 1]);
  narrator.say('two more merchants have sold 2 and 1; a third instance, whose lease lasts a second, begins to settle');
  narrator.sent('POST /settlement/run  (to the third)');
  const late = await settleUntilStopped(stage, third);
  narrator.say('it is stopped (SIGSTOP) before it pays the first account, and stays so past its lease');

  await takenOver(stage, narrator);
  narrator.say('the stopped one wakes up and goes on to pay');
  third.wake();
  const refusal = await late.answer;
  narrator.received(describeAnswer(refusal));
  const code = refusal?.body.code;
  narrator.expect(
    'its late write was refused by the fence',
    refusal?.status === 409 && code === 'STALE_FENCE',
    refusal,
  );
  await expectBalanced(stage, narrator, merchants, [2, 1]);
}

/** Where a lock ends with the connection of its holder, as on Postgres, and standing still does not end it. */
async function killedHolder(stage: Stage, narrator: Narrator, third: MallProcess): Promise<void> {
  const merchants = await merchantsWithSales(stage, [2, 1]);
  narrator.say('two more merchants have sold 2 and 1; a third instance begins to settle');
  narrator.sent('POST /settlement/run  (to the third)');
  await settleUntilKilled(stage, third);
  narrator.say(`it died by ${await third.died()} before it paid the first account`);
  narrator.say('its lock is on Postgres, which frees it when the connection breaks; with Redis, where a lock ends');
  narrator.say('with its lease, it would be stopped instead, and the fence would refuse it when it wakes up');
  await takenOver(stage, narrator);
  await expectBalanced(stage, narrator, merchants, [2, 1]);
}

async function takenOver(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.sent('POST /settlement/run  (to the first, until the lock is free)');
  const { answer, skipped } = await settleOnceFree(stage);
  narrator.received(`200 {"status":"skipped"} × ${skipped}`);
  narrator.received(describeAnswer(answer));
  narrator.expect('another instance took over and finished', answer?.body.status === 'done', answer);
}

/** Merchants who have sold so many tea pots each, on a day that is over. */
async function merchantsWithSales(stage: Stage, pieces: readonly number[]): Promise<string[]> {
  const database = new Client({ connectionString: stage.databaseUrl });
  await database.connect();
  try {
    return await Promise.all(
      pieces.map(async (qty) => {
        const merchant = `potter-${randomUUID().slice(0, 8)}`;
        const sku = await stage.newProduct(qty, merchant);
        await sold(stage.shopper(), sku, qty);
        await database.query(`UPDATE mall_order SET placed_at = placed_at - interval '2 days' WHERE sku = $1`, [sku]);
        return merchant;
      }),
    );
  } finally {
    await database.end();
  }
}

/** Returns once the order is paid. */
async function sold(shopper: Shopper, sku: string, qty: number): Promise<void> {
  const order = await shopper.order(sku, qty, randomUUID());
  const paid = await shopper.pay(order?.body.id, randomUUID());
  if (paid?.status !== 201) throw new Error(`The order was not paid: ${describeAnswer(paid)}`);
  await eventually(async () => {
    const [{ status } = {}] = await shopper.orders();
    if (status !== 'paid') throw new Error(`The order is ${String(status)}`);
  }, BOOKED);
}

/** Returns once the instance stands still; its answer comes when it goes on. */
async function settleUntilStopped(stage: Stage, mall: MallProcess): Promise<{ answer: Promise<Answer | undefined> }> {
  const stopped = mall.reached(CLAIMED).then(() => 'stopped' as const);
  for (;;) {
    const answer = stage.staff(mall).settle();
    const first = await Promise.race([answer, stopped]);
    if (first === 'stopped') return { answer };
    // The lock of the run before is kept for its least time.
    if (first?.body.status !== 'skipped') throw new Error(`It should have been stopped: ${describeAnswer(first)}`);
    await sleep(PAUSE_MS);
  }
}

/** Returns once the instance is dead: its connection breaks without an answer. */
async function settleUntilKilled(stage: Stage, mall: MallProcess): Promise<void> {
  for (;;) {
    const answer = await stage.staff(mall).settle();
    if (!answer) return;
    // The lock of the run before is kept for its least time.
    if (answer.body.status !== 'skipped') throw new Error(`It should have been killed: ${describeAnswer(answer)}`);
    await sleep(PAUSE_MS);
  }
}

async function settleOnceFree(stage: Stage): Promise<{ answer: Answer | undefined; skipped: number }> {
  const giveUpAt = performance.now() + GIVE_UP_MS;
  for (let skipped = 0; ; skipped += 1) {
    const answer = await stage.staff().settle();
    if (answer?.body.status !== 'skipped' || performance.now() > giveUpAt) return { answer, skipped };
    await sleep(PAUSE_MS);
  }
}

async function expectBalanced(
  stage: Stage,
  narrator: Narrator,
  merchants: readonly string[],
  pieces: readonly number[],
): Promise<void> {
  const accounts = await Promise.all(merchants.map((merchant) => stage.staff().account(merchant)));
  for (const account of accounts)
    narrator.received(`GET /settlement/accounts/${String(account.id)}  ${JSON.stringify(account)}`);
  const isBalanced = accounts.every(({ cents }, at) => cents === (pieces[at] ?? 0) * TEA_POT_CENTS);
  narrator.expect('the books balance: each merchant has what was sold for him, once', isBalanced, accounts);
}
