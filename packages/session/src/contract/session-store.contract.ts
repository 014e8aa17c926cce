import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SessionKey, SessionStore } from '../session-store.js';

export interface SessionStoreHarness {
  /** The driver, as reports shall name it. */
  readonly name: string;
  /** Opens a store that no other test uses; called once. */
  open(): Promise<{ readonly store: SessionStore; close?(): Promise<void> }>;
}

/** What every driver of {@link SessionStore} must keep. Call it at the top of a spec file. */
export function describeSessionStoreContract(harness: SessionStoreHarness): void {
  describe(`SessionStore contract: ${harness.name}`, () => {
    let opened: Awaited<ReturnType<SessionStoreHarness['open']>>;
    beforeAll(async () => {
      opened = await harness.open();
    });
    afterAll(async () => opened.close?.());

    it('knows no session that was not made', async () => {
      expect(await opened.store.load({ key: anyKey(), touchAfterMs: 0 })).toBeUndefined();
    });
  });
}

function anyKey(): SessionKey {
  return { id: randomBytes(32).toString('base64url'), group: randomBytes(6).toString('base64url') };
}
