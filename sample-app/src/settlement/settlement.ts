/** What one run of the settlement did. */
export interface Settlement {
  /** The last day that is settled now, `2026-11-23`, in UTC. */
  readonly through: string;
  /** How many merchants had days to be settled. */
  readonly accounts: number;
  /** What they were credited with, together. */
  readonly cents: number;
}

export interface MerchantAccount {
  readonly id: string;
  readonly cents: number;
  /** Every order up to the end of this day is in `cents`. */
  readonly settledThrough: string;
}
