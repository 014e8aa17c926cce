import { expect, it, vi } from 'vitest';
import { type Bench, SECRET } from './notification-store.bench.js';

const WAIT = { timeout: 3_000, interval: 20 };

export function registering(bench: Bench): void {
  it('writes an endpoint once, and a change only over the version it was made from', async () => {
    const { endpoints } = bench().store;
    expect(await bench().register()).toBe(false);
    const found = await endpoints.find(bench().endpoint);
    expect(found).toMatchObject({ url: 'https://partner.example/hook', version: 1, disabledAt: undefined });
    if (!found) throw new Error('not found');
    const secrets = [...found.secrets, { secret: SECRET, until: 1_767_225_600_000 }];
    expect(await endpoints.write({ ...found, url: 'https://other.example/', secrets })).toBe(true);
    expect(await endpoints.write({ ...found, url: 'https://late.example/' })).toBe(false);
    expect(await endpoints.find(bench().endpoint)).toMatchObject({
      url: 'https://other.example/',
      secrets,
      version: 2,
    });
  });

  it('lists endpoints in pages, leaving none out', async () => {
    for (const id of ['b', 'a', 'c']) await bench().register(id);
    const { endpoints } = bench().store;
    const ids = async (after: string | undefined) => (await endpoints.list(after, 2)).map(({ id }) => id);
    expect(await ids(undefined)).toEqual(['a', 'b']);
    expect(await ids('b')).toEqual(['c', bench().endpoint]);
    expect(await ids(bench().endpoint)).toEqual([]);
  });

  it('shows a disabled endpoint as one, until it is enabled', async () => {
    const { endpoints } = bench().store;
    await bench().append();
    expect(await endpoints.disable(bench().endpoint, 'by hand')).toBe(true);
    expect(await endpoints.disable(bench().endpoint, 'again')).toBe(true);
    expect(await endpoints.find(bench().endpoint)).toMatchObject({ disabledReason: 'by hand' });
    expect(await bench().lane()).toMatchObject({ isDisabled: true });
    expect(await endpoints.enable(bench().endpoint)).toBe(true);
    expect(await bench().lane()).toMatchObject({ isDisabled: false });
    expect(await endpoints.disable('nobody', 'x')).toBe(false);
    expect(await endpoints.enable('nobody')).toBe(false);
  });

  it('disables an endpoint by the first failure after it has failed for long enough', async () => {
    await bench().append();
    expect(await bench().failed(100)).toBe(false);
    expect(await bench().lane()).toMatchObject({ isFailing: true, isDisabled: false });
    expect(await bench().failed(60_000)).toBe(false);
    await vi.waitFor(async () => expect(await bench().failed(100)).toBe(true), WAIT);
    expect(await bench().failed(100)).toBe(false);
    expect((await bench().store.endpoints.find(bench().endpoint))?.disabledAt).toBeGreaterThan(0);
  });

  it('counts anew after a success, and where failures lie too far apart', async () => {
    const { endpoints } = bench().store;
    const since = async () => (await endpoints.find(bench().endpoint))?.failingSince;
    await bench().failed(60_000);
    const first = (await since()) ?? 0;
    await endpoints.succeeded(bench().seen());
    expect(await since()).toBeUndefined();
    await vi.waitFor(async () => {
      await bench().failed(60_000, 0);
      expect(await since()).toBeGreaterThan(first + 20);
    }, WAIT);
    expect(await bench().failed(0, 0)).toBe(false);
  });

  it('leaves a paused endpoint alone for that time', async () => {
    await bench().append();
    await bench().store.endpoints.pause(bench().seen(), 200);
    expect((await bench().lane())?.dueInMs).toBeGreaterThan(0);
    await vi.waitFor(async () => expect((await bench().lane())?.dueInMs).toBeLessThanOrEqual(0), WAIT);
  });

  it('removes an endpoint that is disabled and has nothing pending, and no other', async () => {
    const { endpoints } = bench().store;
    const { endpoint } = bench();
    const id = await bench().append();
    expect(await endpoints.remove(endpoint)).toBe(false);
    await endpoints.disable(endpoint, 'by hand');
    expect(await endpoints.remove(endpoint)).toBe(false);
    await bench().store.cancelPending(endpoint, 'disabled', 10);
    expect(await endpoints.remove(endpoint)).toBe(true);
    expect(await endpoints.find(endpoint)).toBeUndefined();
    expect(await bench().state(id)).toBe('cancelled');
    expect(await endpoints.remove(endpoint)).toBe(false);
    expect(await bench().outcomeOf(bench().record())).toBe('unknown-endpoint');
    expect(await bench().failed(60_000)).toBe(false);
    await endpoints.failed({ ...bench().seen({ version: 0 }), gapMs: 60_000, disableAfterMs: 60_000 });
    expect(await endpoints.find(endpoint)).toBeUndefined();
    expect(await bench().register()).toBe(true);
  });

  it('shortens no pause by a later one that is shorter', async () => {
    await bench().append();
    const { endpoints } = bench().store;
    for (const forMs of [60_000, 120_000, 10]) await endpoints.pause(bench().seen(), forMs);
    expect((await bench().lane())?.dueInMs).toBeGreaterThan(60_000);
  });

  it('remembers a url that has recovered for as long as one that fails, and then forgets it', async () => {
    const { endpoints } = bench().store;
    const seen = { endpoint: 'url:1', url: 'https://shop.example/hook', version: 0 };
    await endpoints.failed({ ...seen, gapMs: 60_000, disableAfterMs: 60_000 });
    await endpoints.succeeded(seen);
    await endpoints.pause({ ...seen, endpoint: 'url:2' }, 1);
    await endpoints.enable('url:2');
    expect(await endpoints.purge(60_000)).toBe(0);
    await vi.waitFor(async () => expect(await endpoints.purge(1)).toBe(2), WAIT);
    expect(await endpoints.find('url:1')).toBeUndefined();
  });

  it('hears nothing about an endpoint from attempts that began before it was changed or enabled', async () => {
    const { endpoints } = bench().store;
    const url = 'https://shop.example/hook';
    await endpoints.gone({ endpoint: 'url:1', url, version: 0 }, 'answered 410');
    await endpoints.failed({ ...bench().seen(), gapMs: 60_000, disableAfterMs: 60_000 });
    const found = await endpoints.find(bench().endpoint);
    if (!found) throw new Error('not found');
    await endpoints.write({ ...found, url: 'https://other.example/' });
    for (const endpoint of ['url:1', bench().endpoint]) {
      await bench().append({ endpoint, url });
      const before = (await bench().lane(endpoint)) ?? bench().seen();
      expect(await endpoints.enable(endpoint)).toBe(true);
      const after = await bench().lane(endpoint);
      expect(after).toMatchObject({ isDisabled: false, isFailing: false });
      const old = { endpoint, url, version: before.version };
      expect(await endpoints.failed({ ...old, gapMs: 60_000, disableAfterMs: 0 })).toBe(false);
      expect(await endpoints.failed({ ...old, gapMs: 60_000, disableAfterMs: 0 })).toBe(false);
      expect(await endpoints.pause(old, 60_000)).toBe(false);
      expect(await endpoints.gone(old, 'answered 410')).toBe(false);
      expect(await bench().lane(endpoint)).toMatchObject({
        isDisabled: false,
        isFailing: false,
        version: after?.version,
      });
      expect((await bench().lane(endpoint))?.dueInMs).toBeLessThanOrEqual(0);
      const now = { ...old, version: after?.version ?? Number.NaN };
      await endpoints.failed({ ...now, gapMs: 60_000, disableAfterMs: 60_000 });
      await endpoints.succeeded(old);
      expect(await bench().lane(endpoint)).toMatchObject({ isFailing: true });
      expect(await endpoints.gone(now, 'answered 410')).toBe(true);
      expect(await bench().lane(endpoint)).toMatchObject({ isDisabled: true });
    }
    await bench().append();
    expect(await bench().outcomeOf(bench().record({ endpoint: 'url:1' }))).toBe('unknown-endpoint');
  });

  it('remembers how a url behaves that nobody registered, and forgets it in time', async () => {
    const { endpoints } = bench().store;
    const url = 'https://shop.example/hook';
    await bench().append({ endpoint: 'url:1', url });
    const seen = { endpoint: 'url:1', url, version: 0 };
    expect(await bench().lane('url:1')).toMatchObject({ version: 0 });
    await endpoints.failed({ ...seen, gapMs: 60_000, disableAfterMs: 60_000 });
    await endpoints.pause({ ...seen, endpoint: 'url:2' }, 60_000);
    expect(await endpoints.gone(seen, 'answered 410')).toBe(true);
    expect(await bench().lane('url:1')).toMatchObject({ url: undefined, isDisabled: true, version: 0 });
    expect(await endpoints.purge(60_000)).toBe(0);
    await vi.waitFor(async () => expect(await endpoints.purge(1)).toBe(1), WAIT);
    expect(await endpoints.find('url:1')).toBeUndefined();
    expect(await endpoints.find('url:2')).toBeDefined();
    expect(await endpoints.find(bench().endpoint)).toBeDefined();
  });
}
