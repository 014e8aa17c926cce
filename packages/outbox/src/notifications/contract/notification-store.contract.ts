import { afterEach, beforeEach, describe } from 'vitest';
import { NotificationBench, type NotificationStoreEnds } from './notification-store.bench.js';
import { appending, claiming, settling } from './notification-store.delivering.js';
import { registering } from './notification-store.endpoints.js';
import { operating, receiving } from './notification-store.operating.js';

export interface NotificationStoreContract {
  /** The driver, for the title of the suite. */
  readonly name: string;
  /** A store without notifications, endpoints and receipts. */
  open(): Promise<NotificationStoreEnds>;
}

/** What every `NotificationStore` must keep. Call it in a spec file of the driver. */
export function describeNotificationStoreContract(contract: NotificationStoreContract): void {
  describe(`NotificationStore contract: ${contract.name}`, () => {
    let ends: NotificationStoreEnds | undefined;
    let bench: NotificationBench | undefined;
    beforeEach(async () => {
      ends = await contract.open();
      bench = new NotificationBench(ends);
      await bench.register();
    });
    afterEach(() => ends?.dispose());
    const current = (): NotificationBench => {
      if (!bench) throw new Error('the store is open from beforeEach on');
      return bench;
    };
    appending(current);
    claiming(current);
    settling(current);
    registering(current);
    operating(current);
    receiving(current);
  });
}
