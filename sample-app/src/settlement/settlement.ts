/** What one run of the settlement did. */
export interface Settlement {
  /** The last day that is settled now, `2026-11-23`, in UTC. */
  readonly through: string;
  /** How many merchants had something to be settled. */
  readonly accounts: number;
  /** What they were credited with, together. */
  readonly cents: number;
}

export interface MerchantAccount {
  readonly id: string;
  readonly cents: number;
  /** The last day that is settled. An order of it that was committed later is paid by the next settlement. */
  readonly settledThrough: string;
}
