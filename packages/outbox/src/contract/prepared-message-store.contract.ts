import { afterEach, beforeEach, describe } from 'vitest';
import { PreparedBench, type PreparedMessageStoreEnds } from './prepared-message-store.bench.js';
import { checking, parking } from './prepared-message-store.checking.js';
import { burning, deciding } from './prepared-message-store.deciding.js';

export interface PreparedMessageStoreContract {
  /** The driver, for the title of the suite. */
  readonly name: string;
  /** A store without messages. */
  open(): Promise<PreparedMessageStoreEnds>;
}

/** What every `PreparedMessageStore` must keep. Call it in a spec file of the driver. */
export function describePreparedMessageStoreContract(contract: PreparedMessageStoreContract): void {
  describe(`PreparedMessageStore contract: ${contract.name}`, () => {
    let bench: PreparedBench | undefined;
    beforeEach(async () => {
      bench = new PreparedBench(await contract.open());
    });
    afterEach(() => bench?.ends.dispose());
    const current = (): PreparedBench => {
      if (!bench) throw new Error('the store is open from beforeEach on');
      return bench;
    };
    deciding(current);
    burning(current);
    checking(current);
    parking(current);
  });
}
