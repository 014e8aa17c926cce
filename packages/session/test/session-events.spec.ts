import 'reflect-metadata';
import { MemorySessionStore, type SessionEvent, type SessionHead } from '@lockstep/session';
import { afterEach, describe, expect, it } from 'vitest';
import { Browser, type HttpApp, startHttpApp } from './support/http-app.js';
import { ShopController } from './support/shop.controller.js';

/** It clears up by itself, when a test says so. */
class TidyStore extends MemorySessionStore {
  private tell: ((sessions: readonly SessionHead[]) => void) | undefined;

  onExpired(listener: (sessions: readonly SessionHead[]) => void): () => void {
    this.tell = listener;
    return () => undefined;
  }

  clearUp(heads: readonly SessionHead[]): void {
    this.tell?.(heads);
  }
}

describe('events of sessions', () => {
  let shop: HttpApp | undefined;
  afterEach(() => shop?.close());

  async function start(store: MemorySessionStore): Promise<{ url: string; events: SessionEvent[] }> {
    shop = await startHttpApp({
      platform: 'express',
      controllers: [ShopController],
      session: { store: { useFactory: () => store }, maxPerUser: { sessions: 2, policy: 'evict-oldest' } },
    });
    const events: SessionEvent[] = [];
    shop.sessions.subscribe((event) => events.push(event));
    return { url: shop.url, events };
  }

  it('tell each step once, of the session that it was taken with', async () => {
    const { url, events } = await start(new MemorySessionStore());
    const [first, second, third] = [new Browser(url), new Browser(url), new Browser(url)];
    const handles: string[] = [];
    for (const browser of [first, second, third]) handles.push((await browser.post('/login/ann')).json.handle);
    await third.post('/rotate');
    const rotated = (await shop?.sessions.list({ id: 'ann' }))?.[0]?.handle;
    await third.post('/logout');
    await shop?.sessions.revokeAll({ id: 'ann' });
    const [a, b, c] = handles;
    expect(events.map(({ type, handle }) => [type, handle])).toEqual([
      ['created', a],
      ['login', a],
      ['created', b],
      ['login', b],
      ['created', c],
      ['evicted', a],
      ['login', c],
      ['renewed', rotated],
      ['logout', rotated],
      ['revoked', b],
    ]);
    expect(new Set(events.map(({ principal }) => principal?.id))).toEqual(new Set(['ann']));
  });

  it('tell of sessions that a store clears up by itself', async () => {
    const store = new TidyStore();
    const { events } = await start(store);
    const times = { createdAt: 0, issuedAt: 0, lastAccessAt: 0, expiresAt: 0, idleMs: 0, meta: '{}' };
    store.clearUp([
      { ...times, key: { id: 'a', group: 'g' }, principal: '{"id":"ann","amr":[]}' },
      { ...times, key: { id: 'b', group: 'g' }, principal: '{' },
    ]);
    expect(events).toEqual([
      { type: 'expired', handle: 'a', principal: { id: 'ann' } },
      { type: 'expired', handle: 'b', principal: undefined },
    ]);
  });
});
