import { randomUUID } from 'node:crypto';
import { Pool } from 'pg';

/** A handler or a completer was entered. */
export interface Run {
  readonly key: string;
  readonly fence: bigint;
  /** When its request was sent; undefined for a completer. By the clock of the machine, as all times. */
  readonly sentAt: number | undefined;
  readonly at: number;
}

/** Money that has moved. */
export interface Charge {
  readonly key: string;
  readonly step: string;
  readonly fence: bigint;
  readonly id: string;
}

/** A step was entered (`touched`), or `phase` has resolved after it (`stored`). */
export interface StepNote {
  readonly key: string;
  readonly step: string;
  readonly fence: bigint;
  readonly what: 'touched' | 'stored';
}

export interface Books {
  readonly runs: readonly Run[];
  readonly charges: readonly Charge[];
  readonly steps: readonly StepNote[];
}

/** The bank refuses a charge under a fence lower than one that it has seen. */
export class StaleChargeError extends Error {
  override readonly name = 'StaleChargeError';
}

const TABLES = `
  CREATE TABLE run (key text, fence bigint, sent_at float8, at float8);
  CREATE TABLE step_note (key text, step text, fence bigint, what text);
  CREATE TABLE charge (key text, step text, fence bigint, id text, guarded boolean);
  CREATE UNIQUE INDEX charge_once ON charge (key, step) WHERE guarded;
`;

/** The ledger, in a database that no fault touches. */
export class Bank {
  private readonly pool: Pool;

  constructor(url: string) {
    this.pool = new Pool({ connectionString: url, max: 8 });
  }

  /** Once for each database. */
  async create(): Promise<void> {
    await this.pool.query(TABLES);
  }

  async noteRun({ key, fence, sentAt, at }: Run): Promise<void> {
    await this.pool.query('INSERT INTO run VALUES ($1, $2, $3, $4)', [key, String(fence), sentAt ?? null, at]);
  }

  async noteStep({ key, step, fence, what }: StepNote): Promise<void> {
    await this.pool.query('INSERT INTO step_note VALUES ($1, $2, $3, $4)', [key, step, String(fence), what]);
  }

  /** Books whatever it is told, as often as it is told. */
  async charge(key: string, step: string, fence: bigint): Promise<string> {
    const id = randomUUID();
    await this.pool.query('INSERT INTO charge VALUES ($1, $2, $3, $4, false)', [key, step, String(fence), id]);
    return id;
  }

  /**
   * Books a step of a key once; the same charge to everybody who comes later with a fence that is not lower.
   *
   * @throws StaleChargeError
   */
  async chargeOnce(key: string, step: string, fence: bigint): Promise<string> {
    const { rows } = await this.pool.query<{ id: string }>(
      `INSERT INTO charge VALUES ($1, $2, $3, $4, true)
       ON CONFLICT (key, step) WHERE guarded DO UPDATE SET fence = excluded.fence WHERE charge.fence <= excluded.fence
       RETURNING id`,
      [key, step, String(fence), randomUUID()],
    );
    const id = rows[0]?.id;
    if (id === undefined) throw new StaleChargeError(`${step} of ${key} was booked under a higher fence`);
    return id;
  }

  /** All that was booked under keys that begin so. */
  async books(prefix: string): Promise<Books> {
    const of = async (table: string): Promise<Record<string, string>[]> => {
      const { rows } = await this.pool.query<Record<string, string>>(
        `SELECT * FROM ${table} WHERE starts_with(key, $1)`,
        [prefix],
      );
      return rows;
    };
    const [runs, charges, steps] = await Promise.all([of('run'), of('charge'), of('step_note')]);
    return {
      runs: runs.map(({ key = '', fence = '', sent_at, at }) => ({
        key,
        fence: BigInt(fence),
        sentAt: sent_at === null || sent_at === undefined ? undefined : Number(sent_at),
        at: Number(at),
      })),
      charges: charges.map(({ key = '', step = '', fence = '', id = '' }) => ({ key, step, fence: BigInt(fence), id })),
      steps: steps.map(({ key = '', step = '', fence = '', what }) => ({
        key,
        step,
        fence: BigInt(fence),
        what: what === 'stored' ? 'stored' : 'touched',
      })),
    };
  }

  async close(): Promise<void> {
    await this.pool.end();
  }
}
