import { ExplicitTransaction, type StatementResult, type StatementSender } from '../drivers/explicit-transaction.js';
import {
  type MariaDbCallbackClient,
  type MariaDbClient,
  physicalOf,
  promised,
} from '../drivers/mariadb/mariadb-client.js';
import { runStatement } from '../drivers/mariadb/mariadb-statement.js';
import { mariadbSender } from '../drivers/mariadb/mariadb-transaction.js';
import type { PgClient } from '../drivers/postgres/pg-client.js';
import { pgSender } from '../drivers/postgres/pg-transaction.js';
import { TransactionEndedError, TransactionMisuseError } from '../sql.errors.js';
import type { SqlDialect, SqlTransaction } from '../sql-transaction.js';
import { TransactionEnds } from './transaction-ends.js';

/** The connection on which a library has its transaction. */
export interface LibraryConnection {
  /** The object and the method by which the library sends everything, its COMMIT included. */
  readonly watched: object;
  readonly method: string;
  readonly send: StatementSender;
}

export interface LibraryTransactionState {
  readonly dialect: SqlDialect;
  readonly connection: Promise<LibraryConnection>;
  /** Whether the library says that it is over. Without it, the connection is asked before the first use. */
  readonly isOver?: () => boolean;
  /** Whether the same object may stand for another transaction later. */
  readonly beginsAgain?: boolean;
}

const ENDED = 'its library has committed it or rolled it back';
/** Outside of a transaction there can be no savepoint. */
const PROBE = 'SAVEPOINT lockstep_probe; RELEASE SAVEPOINT lockstep_probe';
const NO_TRANSACTION = '25P01';

const handles = new WeakMap<object, LibraryTransaction>();

/**
 * The handle on the transaction that `owner`, an object of the library, stands for: the same one until it has ended,
 * because its savepoints are counted, and others attach things to it.
 */
export function handleOn(owner: object, open: () => LibraryTransactionState): SqlTransaction {
  const known = handles.get(owner);
  if (known && !known.hasEnded) return known;
  if (known && !known.state.beginsAgain) throw new TransactionEndedError(ENDED);
  const handle = new LibraryTransaction(open());
  handles.set(owner, handle);
  return handle;
}

/** A client of `pg`, or a connection of `mysql2`, with callbacks or with promises. */
export function clientConnection(dialect: SqlDialect, client: object): LibraryConnection {
  if (dialect === 'postgres') return { watched: client, method: 'query', send: pgSender(client as PgClient) };
  const connection = promised<MariaDbClient>(client as MariaDbClient | MariaDbCallbackClient);
  return {
    watched: physicalOf(connection),
    method: 'query',
    send: mariadbSender((text, params) => runStatement(connection, text, params)),
  };
}

/** @param expected what to pass instead, for the message */
export function refuse(given: unknown, expected: string): never {
  // By name only: what is in it may hold a password.
  const name = given instanceof Object ? `A ${given.constructor.name || 'value'}` : String(given);
  throw new TransactionMisuseError(
    `${name} is no open transaction: a statement sent to it would be committed by itself. Pass ${expected}.`,
  );
}

/**
 * A transaction that a library has begun and will end. Statements go straight to its connection, in its transaction, so
 * that values, counts and errors are those of the client itself. It has no hooks around the commit.
 *
 * ```
 * open --the library sends COMMIT or ROLLBACK, or says that it is over--> ended: every statement is refused
 * ```
 */
class LibraryTransaction extends ExplicitTransaction {
  readonly dialect: SqlDialect;
  private readonly connection: Promise<LibraryConnection>;
  private ends: { readonly of: TransactionEnds; readonly before: number } | undefined;
  private isProven: boolean;

  constructor(readonly state: LibraryTransactionState) {
    super();
    this.dialect = state.dialect;
    this.isProven = state.isOver !== undefined;
    this.connection = state.connection.then((connection) => {
      const ends = TransactionEnds.on(connection.watched, connection.method);
      this.ends = { of: ends, before: ends.count };
      return connection;
    });
    // It is told to whoever sends a statement, and nobody may.
    this.connection.catch(() => undefined);
  }

  get hasEnded(): boolean {
    // Some libraries say it only when COMMIT has been answered, and a statement may be sent before that.
    return this.state.isOver?.() === true || (this.ends !== undefined && this.ends.of.count !== this.ends.before);
  }

  protected async send(text: string, params: readonly unknown[]): Promise<StatementResult> {
    const { send } = await this.connection;
    if (!this.isProven) await this.prove(send);
    this.assertOpen();
    // Nothing may come between: the client keeps the order in which it was called.
    return send(text, params);
  }

  /** The transaction may have ended before anybody asked for a handle on it. */
  private async prove(send: StatementSender): Promise<void> {
    this.assertOpen();
    if (this.dialect === 'mariadb') {
      const [row] = (await send('SELECT @@in_transaction AS open', [])).rows as { readonly open: unknown }[];
      if (Number(row?.open) !== 1) throw new TransactionEndedError(ENDED);
    } else {
      await send(PROBE, []).catch((error: unknown) => {
        throw (error as { readonly code?: unknown }).code === NO_TRANSACTION ? new TransactionEndedError(ENDED) : error;
      });
    }
    this.isProven = true;
  }

  private assertOpen(): void {
    if (this.hasEnded) throw new TransactionEndedError(ENDED);
  }
}
