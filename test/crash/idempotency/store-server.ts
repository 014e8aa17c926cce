import { type StoreName, type StoreServer, startStore as start } from '../fleet/store-server.js';
import { type LeftKey, leftKeys, leftRows } from './leaks.js';

/** A server that holds operations. */
export type OperationStore = StoreServer<LeftKey>;

export function startStore(name: StoreName): Promise<OperationStore> {
  return start(name, { keys: leftKeys, rows: leftRows });
}
