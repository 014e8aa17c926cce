import type { ExtendOutcome, ExtendRequest, LockStore, ReleaseOutcome, ReleaseRequest } from '../lock-store.js';

type Store = LockStore<bigint | undefined>;
type Failed = Extract<ReleaseOutcome, { readonly status: 'failed' }>;

/** An outcome for each lease, also of a store that rejects or answers too little, which its contract forbids. */
export function extendAt(store: Store, requests: readonly ExtendRequest[]): Promise<readonly ExtendOutcome[]> {
  return outcomesOf(requests, () => store.extend(requests));
}

/** An outcome for each lease, also of a store that rejects or answers too little, which its contract forbids. */
export function releaseAt(store: Store, requests: readonly ReleaseRequest[]): Promise<readonly ReleaseOutcome[]> {
  return outcomesOf(requests, () => store.release(requests));
}

/** These calls are often nobody's to await: a rejection would end the process. */
async function outcomesOf<Outcome>(
  requests: readonly unknown[],
  ask: () => Promise<readonly Outcome[]>,
): Promise<readonly (Outcome | Failed)[]> {
  try {
    const outcomes = await ask();
    if (outcomes.length === requests.length) return outcomes;
    return requests.map((_, index) => outcomes[index] ?? failed(new Error('the store gave no outcome for this lease')));
  } catch (error) {
    return requests.map(() => failed(error));
  }
}

function failed(error: unknown): Failed {
  return { status: 'failed', error };
}
