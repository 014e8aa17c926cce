import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeAnchor, describeFences, describeGrants, describePrefix } from './lock-store.granting.js';
import { describeExpiry, describeExtension } from './lock-store.keeping.js';
import { describeInspection, describeRelease } from './lock-store.releasing.js';
import { describePermits, describeReaders } from './lock-store.sharing.js';
import { describeClosing, describeQueue, describeWaiting } from './lock-store.waiting.js';
import { factIf, type LockStoreHarness, Subject } from './subject.js';

/** What every driver of {@link LockStore} must keep. Call it at the top of a spec file. */
export function describeLockStoreContract(harness: LockStoreHarness): void {
  describe(`LockStore contract: ${harness.name}`, () => {
    const { abilities } = harness;
    const subject = new Subject(harness);
    beforeAll(() => subject.open());
    afterAll(() => subject.close());

    it('says of itself what the suite was told', () => expect(subject.store.abilities).toEqual(abilities));
    describeGrants(subject, factIf(abilities.expires, 'its locks end with a session'));
    describeAnchor(subject, harness.delayWire?.bind(harness));
    describeFences(subject, factIf(harness.fences ?? true, 'it promises no fences'));
    describePrefix(subject);
    describeWaiting(subject);
    describeQueue(subject, factIf(abilities.queues, 'it does not queue'));
    describeReaders(subject, factIf(abilities.shares !== 'none', 'it does not share'));
    describePermits(subject, factIf(abilities.shares === 'any', 'it has no permits'));
    describeExtension(subject);
    describeRelease(subject);
    describeInspection(subject, harness.holders ?? 'requests');
    describeExpiry(subject, factIf(abilities.expires, 'its locks end with a session'));
    describeClosing(harness);
  });
}
