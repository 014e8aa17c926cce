import { chargedOrder } from './charged-order.chapter.js';
import { crash } from './crash.chapter.js';
import { doubleClick } from './double-click.chapter.js';
import { lastPieces } from './last-pieces.chapter.js';
import { Narrator } from './narrator.js';
import { orderForm } from './order-form.chapter.js';
import { payment } from './payment.chapter.js';
import { session } from './session.chapter.js';
import { settlement } from './settlement.chapter.js';
import type { Stage } from './stage.js';
import { unpaidOrder } from './unpaid-order.chapter.js';

/** Plays every chapter on an open stage. Returns how many promises were broken. */
export async function playTour(stage: Stage): Promise<number> {
  const narrator = new Narrator();
  for (const chapter of [
    doubleClick,
    orderForm,
    lastPieces,
    crash,
    session,
    payment,
    chargedOrder,
    unpaidOrder,
    settlement,
  ])
    await chapter(stage, narrator);
  return narrator.failed;
}
