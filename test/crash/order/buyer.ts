import { setTimeout as sleep } from 'node:timers/promises';

/** One request of one buyer, and all that was ever answered to it. */
export interface OrderRequest {
  readonly buyer: string;
  readonly key: string;
  readonly sku: string;
  readonly qty: number;
  /** Clicks at the same moment. */
  readonly clicks: number;
  /** Buyers come one by one, so that every fault meets some of them. */
  readonly arrivesAfterMs: number;
  readonly orderIds: Set<string>;
  soldOut: boolean;
  /** Answers that are neither an order, nor a refusal, nor a request to come back. */
  readonly odd: string[];
}

const GIVE_UP_MS = 120_000;
const PAUSE_MS = 150;
const REQUEST_TIMEOUT_MS = 15_000;
const COME_BACK = new Set([408, 423, 425, 429, 500, 502, 503, 504]);

/**
 * Repeats the request, as a good client does after a broken connection or a 5xx, until it is answered for good. Sends
 * it several times at once where the request says so.
 *
 * @returns whether there was a final answer before the buyer gave up
 */
export async function insist(request: OrderRequest, urls: () => readonly string[]): Promise<boolean> {
  await sleep(request.arrivesAfterMs);
  const giveUpAt = performance.now() + GIVE_UP_MS;
  while (performance.now() < giveUpAt) {
    const targets = urls();
    const clicks = targets.length === 0 ? 0 : request.clicks;
    const finals = await Promise.all(
      Array.from({ length: clicks }, (_, click) => send(request, targets[click % targets.length] ?? '')),
    );
    if (finals.includes(true)) return true;
    await sleep(PAUSE_MS);
  }
  return false;
}

async function send(request: OrderRequest, url: string): Promise<boolean> {
  const answer = await post(request, url);
  if (answer === undefined) return false;
  const { status, body } = answer;
  if (status === 201 && typeof body.id === 'string') {
    request.orderIds.add(body.id);
    return true;
  }
  if (status === 409 && body.code === 'SOLD_OUT') {
    request.soldOut = true;
    return true;
  }
  const comeBack = COME_BACK.has(status) || (status === 409 && body.code !== undefined);
  if (!comeBack) request.odd.push(`${status} ${JSON.stringify(body)}`);
  return false;
}

/** Undefined: the connection broke or nobody answered in time, so the outcome is unknown. */
async function post(
  { buyer, key, sku, qty }: OrderRequest,
  url: string,
): Promise<{ status: number; body: Record<string, unknown> } | undefined> {
  try {
    const response = await fetch(`${url}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-buyer': buyer, 'idempotency-key': key },
      body: JSON.stringify({ sku, qty }),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  } catch (error) {
    if (error instanceof TypeError || error instanceof DOMException || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
