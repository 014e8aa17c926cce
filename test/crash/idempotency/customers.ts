import { setTimeout as sleep } from 'node:timers/promises';
import type { SeededRandom } from '@lockstep/testing';
import { sharedMs } from '../lock/shared-clock.js';
import { type Order, type PlanKind, ROUTE_NAMES, SENT_AT } from './routes.js';

/** One request and what came back. Times by the clock of the machine. */
export interface Answer {
  readonly sentAt: number;
  readonly at: number;
  /** 0: none, the connection broke. */
  readonly status: number;
  /** Of a problem document. */
  readonly code: string;
  readonly text: string;
  readonly location: string;
  readonly isReplayed: boolean;
  /** It asked for another amount under the same key. */
  readonly isOther: boolean;
}

/** One key and all that was ever answered to it. */
export interface Customer {
  readonly order: Order;
  readonly random: SeededRandom;
  /** Customers come one by one, so that every fault meets some of them. */
  readonly arrivesAfterMs: number;
  readonly answers: Answer[];
}

const KINDS: readonly PlanKind[] = ['plain', 'plain', 'steps', 'steps', 'steps', 'decline', 'unknown'];
const REQUEST_TIMEOUT_MS = 8_000;
const PAUSE_MS = [50, 400] as const;
const THINK_MS = [5, 120] as const;
/** Repetitions that come although there was an answer. */
const STRAGGLERS = 3;

export function drawCustomer(random: SeededRandom, prefix: string, name: number, withinMs: number): Customer {
  const route = ROUTE_NAMES[name % ROUTE_NAMES.length] ?? 'cautious';
  const order = {
    key: `${prefix}-key-${String(name).padStart(6, '0')}`,
    route,
    kind: random.pick(KINDS),
    amount: random.integer(1, 1_000),
    thinkMs: random.integer(...THINK_MS),
  };
  return { order, random, arrivesAfterMs: random.next() * withinMs, answers: [] };
}

/** Whether no later answer may be another one, as far as the customer can tell. */
export function isFinal({ status, code }: Answer): boolean {
  return status === 201 || status === 402 || (status === 409 && code === 'OPERATION_UNCERTAIN');
}

/**
 * Sends the order, several times at once, until it is answered for good or the time is over, and some times after that:
 * every now and then with another amount.
 */
export async function insist(customer: Customer, urls: () => readonly string[], until: number): Promise<void> {
  const { random } = customer;
  await sleep(customer.arrivesAfterMs);
  let final: Answer | undefined;
  while (!final && sharedMs() < until) {
    const clicks = Array.from({ length: random.integer(1, 4) }, () => ask(customer, urls()));
    final = (await Promise.all(clicks)).find((answer) => answer !== undefined && isFinal(answer));
    await sleep(random.integer(...PAUSE_MS));
  }
  for (let count = 0; count < STRAGGLERS; count += 1) {
    await sleep(random.integer(...PAUSE_MS));
    // What is not answered for good may come free, and then another payload is as good as the first one.
    await ask(customer, urls(), random.next() < 0.3 && final !== undefined && final.status !== 409);
  }
}

/** One request to any of the workers; undefined when there is none. */
export async function ask(
  { order, random, answers }: Customer,
  urls: readonly string[],
  isOther = false,
): Promise<Answer | undefined> {
  if (urls.length === 0) return undefined;
  const body = JSON.stringify(isOther ? { ...order, amount: order.amount + 1 } : order);
  const answer = await send(`${random.pick(urls)}/${order.route}`, order.key, body, isOther);
  answers.push(answer);
  return answer;
}

async function send(url: string, key: string, body: string, isOther: boolean): Promise<Answer> {
  const sentAt = sharedMs();
  const none = { sentAt, status: 0, code: '', location: '', isReplayed: false, isOther };
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key, [SENT_AT]: String(sentAt) },
      body,
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    const text = await response.text();
    const { status, headers } = response;
    const location = headers.get('location') ?? '';
    const isReplayed = headers.get('idempotent-replayed') === 'true';
    return { ...none, at: sharedMs(), status, code: codeOf(text), text, location, isReplayed };
  } catch (error) {
    // Killed, frozen or restarted under the request.
    if (!(error instanceof TypeError || error instanceof DOMException)) throw error;
    return { ...none, at: sharedMs(), text: String(error) };
  }
}

function codeOf(text: string): string {
  try {
    const { code } = JSON.parse(text) as { readonly code?: unknown };
    return typeof code === 'string' ? code : '';
  } catch (error) {
    if (error instanceof SyntaxError) return '';
    throw error;
  }
}
