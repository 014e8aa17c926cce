import { isConflict, type Sql, type SqlTransaction } from '@lockstep/sql';

const ATTEMPTS = 5;
const DUPLICATE = 1062;

/**
 * Steps of the store's own, whatever is open around. InnoDB ends one of two that wait for each other, and may do so with
 * steps that take their rows in one order: for what lies between the rows. What was ended did nothing, and is done again.
 */
export class OwnTransactions {
  constructor(private readonly sql: Sql) {}

  transaction<T>(work: (tx: SqlTransaction) => Promise<T>): Promise<T> {
    // The driver begins at read committed: at a higher level, what finds no row locks the gap where it would be.
    return again(() => this.sql.transaction(work, { propagation: 'requires-new' }));
  }

  /** Looks, where it is to be patient in a transaction: a statement there has more time than one that is alone. */
  look<Row>(text: string, params: readonly unknown[], patient: boolean): Promise<Row[]> {
    return patient ? this.transaction((tx) => tx.query<Row>(text, params)) : this.sql.query<Row>(text, params);
  }

  execute(text: string, params: readonly unknown[]): Promise<number> {
    return again(() => this.sql.execute(text, params));
  }
}

async function again<T>(step: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await step();
    } catch (error) {
      if (attempt === ATTEMPTS || !isOvertaken(error)) throw error;
    }
  }
}

/** Ended because of others, or overtaken by one that inserted the same between the look and the insert. */
function isOvertaken(error: unknown): boolean {
  return isConflict(error) || (error as { readonly errno?: unknown } | null)?.errno === DUPLICATE;
}
