const SKIPPED = String.raw`(?:[\s(;]|/\*[\s\S]*?\*/|--[^\n]*\n)*`;
const TO_SAVEPOINT = String.raw`rollback\s+(?:(?:work|transaction)\s+)?to\b`;
/** In MariaDB a block of statements, which is no transaction. */
const BLOCK = String.raw`begin\s+not\b`;
const WORDS = String.raw`commit|rollback|abort|end|begin|start\s+transaction|prepare\s+transaction`;
const ENDS_TRANSACTION = new RegExp(`^${SKIPPED}(?!${TO_SAVEPOINT}|${BLOCK})(?:${WORDS})\\b`, 'i');

type Method = (this: unknown, ...args: unknown[]) => unknown;

/**
 * Counts the transactions that end on a connection. Libraries say late that theirs has ended, or do not say it at all, and
 * the connection goes on to serve others: a statement that came too late would be committed by itself, or with what is
 * none of its business. The end is what all of them send over the one method that this watches, from the moment at which
 * they do. The beginning of another one is an end as well, for whatever was open before it.
 */
export class TransactionEnds {
  private static readonly watched = new WeakMap<object, TransactionEnds>();
  private ended = 0;

  private constructor() {}

  /** Watches `connection` for as long as it lives: what is put around a method cannot be taken away from in between. */
  static on(connection: object, method: string): TransactionEnds {
    let ends = TransactionEnds.watched.get(connection);
    if (!ends) {
      ends = new TransactionEnds();
      ends.watch(connection as Record<string, unknown>, method);
      TransactionEnds.watched.set(connection, ends);
    }
    return ends;
  }

  get count(): number {
    return this.ended;
  }

  private watch(connection: Record<string, unknown>, method: string): void {
    const original = connection[method] as Method;
    const note = (statement: unknown): void => {
      const text = textOf(statement);
      if (text !== undefined && ENDS_TRANSACTION.test(text)) this.ended += 1;
    };
    connection[method] = function (this: unknown, ...args: unknown[]): unknown {
      note(args[0]);
      return original.apply(this, args);
    };
  }
}

/** `pg` calls it `text`, `mysql2` and Kysely `sql`. */
function textOf(statement: unknown): string | undefined {
  if (typeof statement === 'string') return statement;
  const { text, sql } = (statement ?? {}) as { readonly text?: unknown; readonly sql?: unknown };
  if (typeof text === 'string') return text;
  return typeof sql === 'string' ? sql : undefined;
}
