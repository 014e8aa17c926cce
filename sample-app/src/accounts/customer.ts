/** Somebody who has an account at the mall. */
export interface Customer {
  /** Random, so that nobody can choose to be somebody else. */
  readonly id: string;
  readonly name: string;
}

/** What he proves himself with. */
export interface Credentials {
  readonly name: string;
  /** Never to be logged. */
  readonly password: string;
}
