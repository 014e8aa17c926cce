import { TransactionAbortedError } from './sql.errors.js';

/**
 * Runs `fn` between SAVEPOINT and RELEASE; on its rejection undoes what it did and passes the rejection on.
 *
 * @param failure the error of a statement inside that was caught, for the case that RELEASE is refused because of it
 */
export async function runInSavepoint<T>(
  execute: (statement: string) => Promise<unknown>,
  name: string,
  fn: () => Promise<T>,
  failure: () => unknown = () => undefined,
): Promise<T> {
  await execute(`SAVEPOINT ${name}`);
  let value: T;
  try {
    value = await fn();
  } catch (error) {
    await undo(execute, name);
    throw error;
  }
  try {
    await execute(`RELEASE SAVEPOINT ${name}`);
  } catch (error) {
    await undo(execute, name);
    throw new TransactionAbortedError(failure() ?? error);
  }
  return value;
}

/** Rejects where the connection is gone: then the whole transaction is lost, which matters more than why it began. */
async function undo(execute: (statement: string) => Promise<unknown>, name: string): Promise<void> {
  await execute(`ROLLBACK TO SAVEPOINT ${name}`);
  await execute(`RELEASE SAVEPOINT ${name}`);
}
