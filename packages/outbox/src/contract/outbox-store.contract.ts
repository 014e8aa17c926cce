import { afterEach, beforeEach, describe } from 'vitest';
import { OutboxBench, type OutboxStoreEnds } from './outbox-store.bench.js';
import { burying } from './outbox-store.burying.js';
import { appending, claiming } from './outbox-store.claiming.js';
import { compensating } from './outbox-store.compensating.js';
import { delaying } from './outbox-store.delaying.js';
import { delivering, leasing } from './outbox-store.delivering.js';
import { idling } from './outbox-store.idling.js';
import { ordering } from './outbox-store.ordering.js';
import { starting } from './outbox-store.starting.js';

export interface OutboxStoreContract {
  /** The driver, for the title of the suite. */
  readonly name: string;
  /** A store without messages and subscriptions. */
  open(): Promise<OutboxStoreEnds>;
}

/** What every `OutboxStore` must keep. Call it in a spec file of the driver. */
export function describeOutboxStoreContract(contract: OutboxStoreContract): void {
  describe(`OutboxStore contract: ${contract.name}`, () => {
    let ends: OutboxStoreEnds | undefined;
    let bench: OutboxBench | undefined;
    beforeEach(async () => {
      ends = await contract.open();
      bench = new OutboxBench(ends);
    });
    afterEach(() => ends?.dispose());
    const current = (): OutboxBench => {
      if (!bench) throw new Error('the store is open from beforeEach on');
      return bench;
    };
    appending(current);
    claiming(current);
    delivering(current);
    burying(current);
    compensating(current);
    delaying(current);
    ordering(current);
    starting(current);
    idling(current);
    leasing(current);
  });
}
