import { eventually } from '@lockstep/testing';

/** Sends a request and goes away as soon as `isThere` is so, without having heard the end of its answer. */
export async function leave(url: string, key: string, isThere: () => void): Promise<void> {
  const leaving = new AbortController();
  const first = fetch(url, { method: 'POST', headers: { 'idempotency-key': key }, signal: leaving.signal });
  await eventually(isThere);
  leaving.abort();
  await first.catch((error: unknown) => {
    if (!leaving.signal.aborted) throw error;
  });
}

/** The same, after the first bytes have come. */
export async function leaveWithin(url: string, key: string): Promise<void> {
  const leaving = new AbortController();
  const response = await fetch(url, { method: 'POST', headers: { 'idempotency-key': key }, signal: leaving.signal });
  await response.body?.getReader().read();
  leaving.abort();
}
