import type { MigrationSet, Sql } from '@lockstep/sql';

const DUPLICATE_KEY = 1062;

/** The database of `SqlModule`, with the tables of notifications in it. */
export class NotificationDatabase {
  constructor(
    readonly sql: Sql,
    private readonly migrations: MigrationSet,
  ) {}

  /** Sees to it that the tables are there. */
  ready(): Promise<void> {
    return this.sql.ensureMigrated(this.migrations);
  }

  async query<Row>(text: string, params: readonly unknown[] = []): Promise<Row[]> {
    await this.ready();
    return this.sql.query<Row>(text, params);
  }

  async execute(text: string, params: readonly unknown[] = []): Promise<number> {
    await this.ready();
    return this.sql.execute(text, params);
  }
}

/** Rows that an insert wrote: 0 for a key that is taken, which MariaDB calls an error, without harm to the transaction. */
export async function inserted(
  insert: () => Promise<number>,
): Promise<{ readonly rows: number; readonly isTaken: boolean }> {
  try {
    return { rows: await insert(), isTaken: false };
  } catch (error) {
    if ((error as { readonly errno?: unknown } | null)?.errno !== DUPLICATE_KEY) throw error;
    return { rows: 0, isTaken: true };
  }
}

/** Text columns cannot hold NUL, and an error may quote anything. */
export function storable(text: string): string {
  return text.replaceAll('\u0000', '').slice(0, 500);
}
