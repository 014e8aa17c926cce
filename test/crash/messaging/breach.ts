import type { DriverProvider } from '@lockstep/core';
import type { OutboxStore } from '@lockstep/outbox';
import type { Inbox } from '@lockstep/sql';
import type { Breach } from './worker-setting.js';

/** What the ledger says of a guarantee that is broken. */
export const SIGN_OF: Readonly<Record<Breach, RegExp>> = {
  'no-inbox': /has [2-9] effects/,
  'deletes-first': /has 0 effects/,
};

/** The guarantee, broken: what is claimed is forgotten before it is published. */
export function deletingFirst(driver: DriverProvider<OutboxStore>): DriverProvider<OutboxStore> {
  return {
    ...driver,
    useFactory: async (...dependencies: unknown[]) => {
      const store = await driver.useFactory(...dependencies);
      const claim = store.claim.bind(store);
      store.claim = async (request) => {
        const claimed = await claim(request);
        await store.settle(
          claimed.deliveries.map(({ consumer, message }) => ({
            outcome: 'acknowledged',
            consumer,
            messageId: message.id,
          })),
        );
        return claimed;
      };
      return store;
    },
  };
}

/** The guarantee, broken: every copy is the first one. */
export function forgetCopies(inbox: Inbox): void {
  inbox.once = async () => true;
  inbox.onceMany = async (_tx, _consumer, ids) => new Set(ids);
}
