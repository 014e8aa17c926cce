/** One statement and how its result is to be read, whatever the connection was configured for. */
export interface MariaDbQueryOptions {
  readonly sql: string;
  readonly values?: unknown[];
  readonly rowsAsArray: boolean;
  readonly nestTables: boolean;
  readonly namedPlaceholders: boolean;
  readonly typeCast: boolean;
  readonly supportBigNumbers: boolean;
  readonly bigNumberStrings: boolean;
  readonly decimalNumbers: boolean;
  readonly dateStrings: boolean;
}

/** What is needed of a connection of `mysql2/promise`; a type by shape, so that every copy of the library will do. */
export interface MariaDbClient {
  // Overloads and generics of the library fit no narrower type.
  // biome-ignore lint/suspicious/noExplicitAny: the shape of a result is known to whoever wrote the statement
  query(options: any): Promise<any>;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  execute(options: any): Promise<any>;
}

/** A connection of `mysql2` whose methods take callbacks, as ORMs hand it out. */
export interface MariaDbCallbackClient {
  promise(): MariaDbClient;
}

/** A connection that is on loan from a pool. */
export interface MariaDbPoolClient extends MariaDbClient {
  release(): void;
  destroy(): void;
}

/** What is needed of a pool of `mysql2/promise`. */
export interface MariaDbPool {
  getConnection(): Promise<MariaDbPoolClient>;
  end(): Promise<void>;
}

/** A pool of `mysql2` whose methods take callbacks. */
export interface MariaDbCallbackPool {
  promise(): MariaDbPool;
}

/** The face with promises of a connection or of a pool. */
export function promised<Client extends object>(client: Client | { promise(): Client }): Client {
  return 'promise' in client && typeof client.promise === 'function' ? client.promise() : (client as Client);
}

/** What stays the same however often the pool lends it: the connection under the wrapper with promises. */
export interface PhysicalConnection {
  on(event: 'error' | 'end', listener: (error: Error) => void): unknown;
  removeListener(event: 'error' | 'end', listener: (error: Error) => void): unknown;
  readonly stream?: { destroy?(): void };
  readonly config?: { readonly clientFlags?: unknown };
}

export function physicalOf(client: MariaDbClient): PhysicalConnection {
  const { connection = client } = client as { readonly connection?: unknown };
  return connection as PhysicalConnection;
}
