import { afterAll, beforeAll, describe } from 'vitest';
import { ContractSubject, type SessionStoreHarness } from './contract-subject.js';
import { describeHostileValues } from './hostile-values.facts.js';
import { describeLiving } from './living.facts.js';
import { describeLogins } from './logins.facts.js';
import { describeRenewals } from './renewals.facts.js';
import { describeSaving } from './saving.facts.js';
import { describeLimits, describeUsers } from './users.facts.js';
import { describeWatching } from './watching.facts.js';

/** What every driver of {@link SessionStore} must keep. Call it at the top of a spec file. */
export function describeSessionStoreContract(harness: SessionStoreHarness): void {
  describe(`SessionStore contract: ${harness.name}`, () => {
    const subject = new ContractSubject();
    beforeAll(() => subject.open(harness));
    afterAll(() => subject.close());

    describe('living', () => describeLiving(subject));
    describe('saving', () => describeSaving(subject));
    describe('login and reset', () => describeLogins(subject));
    describe('renewal', () => describeRenewals(subject));
    describe('the sessions of a user', () => describeUsers(subject));
    describe('their limit', () => describeLimits(subject));
    describe('hostile values', () => describeHostileValues(subject));
    describe('watching', () => describeWatching(subject));
  });
}
