/** What came back from one attempt. */
export interface Answer {
  readonly status: number;
  /** As the header says it. */
  readonly retryAfter: string | undefined;
}

/**
 * `delivered`: any 2xx. `gone`: 410, the receiver wants nothing any more. `throttled`: the receiver is overloaded, or what
 * stands before it; `pauseMs` is its own wish where it has one. `failed`: everything else, redirects included.
 */
export type Verdict =
  | { readonly kind: 'delivered' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'throttled'; readonly pauseMs: number }
  | { readonly kind: 'failed' };

export interface VerdictRules {
  /** Where the receiver does not say for how long. */
  readonly throttlePauseMs: number;
  readonly retryAfterAtMostMs: number;
}

const THROTTLING = new Set([429, 502, 503, 504]);
const SECONDS = /^\d{1,9}$/;
/** The one form of dates that a server may write; the others are obsolete, and `Date.parse` takes more than dates. */
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/** @param nowMs epoch milliseconds, against which a date is read */
export function judge({ status, retryAfter }: Answer, nowMs: number, rules: VerdictRules): Verdict {
  if (status >= 200 && status <= 299) return { kind: 'delivered' };
  if (status === 410) return { kind: 'gone' };
  if (!THROTTLING.has(status)) return { kind: 'failed' };
  const askedMs = retryAfterMs(retryAfter, nowMs) ?? rules.throttlePauseMs;
  return { kind: 'throttled', pauseMs: Math.min(Math.max(askedMs, 0), rules.retryAfterAtMostMs) };
}

function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  const text = header?.trim() ?? '';
  if (SECONDS.test(text)) return Number(text) * 1_000;
  const date = HTTP_DATE.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : date - nowMs;
}
