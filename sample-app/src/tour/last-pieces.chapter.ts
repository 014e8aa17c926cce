import { randomUUID } from 'node:crypto';
import type { Answer } from './client.js';
import type { Narrator } from './narrator.js';
import type { Stage } from './stage.js';

const BUYERS = 50;
const PIECES = 10;

/** Fifty buyers, ten pieces: ten orders and forty clean refusals, nothing in between. */
export async function lastPieces(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter(`${BUYERS} buyers race for ${PIECES} pieces`);
  const sku = await stage.newProduct(PIECES);
  const shoppers = Array.from({ length: BUYERS }, () => stage.shopper());

  narrator.sent(`${BUYERS} × POST /orders {"sku":"${sku}","qty":1}, each buyer with a key of his own, all at once`);
  const startedAt = performance.now();
  const answers = await Promise.all(shoppers.map((shopper) => shopper.order(sku, 1, randomUUID())));
  narrator.received(`${summary(answers)} in ${Math.round(performance.now() - startedAt)} ms`);

  const placed = answers.filter((answer) => answer?.status === 201).length;
  const refused = answers.filter((answer) => answer?.status === 409 && answer.body.code === 'SOLD_OUT').length;
  narrator.expect(`${PIECES} orders`, placed === PIECES, placed);
  narrator.expect(`${BUYERS - PIECES} clean refusals`, refused === BUYERS - PIECES, refused);
  const left = await stage.shopper().piecesLeft(sku);
  narrator.expect('the shelf is empty, and not below', left === 0, left);
}

function summary(answers: readonly (Answer | undefined)[]): string {
  const counts = new Map<string, number>();
  for (const answer of answers) {
    const code = answer?.body.code;
    const label = `${answer?.status ?? 'no answer'} ${typeof code === 'string' ? code : ''}`.trim();
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  return [...counts].map(([label, times]) => `${times} × ${label}`).join(', ');
}
