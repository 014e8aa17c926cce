import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { EpochStore } from '../epoch-store.js';

export interface EpochStoreHarness {
  /** The driver, as reports shall name it. */
  readonly name: string;
  /** Opens a store that no other test uses; called once. */
  open(): Promise<{ readonly store: EpochStore; close?(): Promise<void> }>;
}

const LONG_MS = 60_000;
const SHORT_MS = 150;

/** What every driver of {@link EpochStore} must keep. Call it at the top of a spec file. */
export function describeEpochStoreContract(harness: EpochStoreHarness): void {
  describe(`EpochStore contract: ${harness.name}`, () => {
    let opened: Awaited<ReturnType<EpochStoreHarness['open']>>;
    beforeAll(async () => {
      opened = await harness.open();
    });
    afterAll(async () => opened?.close?.());

    it('reads 0 for a user who has no epoch', async () => {
      expect(await opened.store.read(anyGroup())).toBe(0);
    });

    it('reads what the last bump returned, of that user only', async () => {
      const [group, other] = [anyGroup(), anyGroup()];
      const epoch = await opened.store.bump(group, LONG_MS);
      expect(epoch).toBeGreaterThan(0);
      expect(await opened.store.read(group)).toBe(epoch);
      expect(await opened.store.read(other)).toBe(0);
    });

    it('rises with each bump, however many come at once', async () => {
      const group = anyGroup();
      const epochs = await Promise.all(Array.from({ length: 50 }, () => opened.store.bump(group, LONG_MS)));
      expect(new Set(epochs).size).toBe(50);
      expect(epochs.every(Number.isSafeInteger)).toBe(true);
      expect(await opened.store.read(group)).toBe(Math.max(...epochs));
    });

    it('forgets an epoch after its time, and gives a higher one next', async () => {
      const group = anyGroup();
      const before = await opened.store.bump(group, SHORT_MS);
      await vi.waitFor(async () => expect(await opened.store.read(group)).toBe(0), { timeout: 5_000, interval: 25 });
      expect(await opened.store.bump(group, LONG_MS)).toBeGreaterThan(before);
    });

    it('remembers as long as the last bump asks for, not the first', async () => {
      const group = anyGroup();
      const control = anyGroup();
      await opened.store.bump(group, SHORT_MS);
      const epoch = await opened.store.bump(group, LONG_MS);
      await opened.store.bump(control, SHORT_MS);
      await vi.waitFor(async () => expect(await opened.store.read(control)).toBe(0), { timeout: 5_000, interval: 25 });
      expect(await opened.store.read(group)).toBe(epoch);
    });
  });
}

function anyGroup(): string {
  return `u${randomBytes(16).toString('base64url')}`;
}
