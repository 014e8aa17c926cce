/** What is needed of a client of `pg`; a type by shape, so that no copy of the library is preferred to another. */
export interface PgClient {
  query(text: string, values?: unknown[]): Promise<PgResult>;
}

export interface PgResult {
  readonly command: string;
  readonly rowCount: number | null;
  // biome-ignore lint/suspicious/noExplicitAny: the shape of a row is known to whoever wrote the statement
  readonly rows: any[];
}

/** A client that is on loan from a pool. */
export interface PgPoolClient extends PgClient {
  /** With an error, the connection is closed instead of being used again. */
  release(destroy?: Error | boolean): void;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'notification', listener: (message: PgNotification) => void): unknown;
  removeListener(event: 'error', listener: (error: Error) => void): unknown;
}

/** What somebody announced by NOTIFY. */
export interface PgNotification {
  readonly channel: string;
  readonly payload?: string | undefined;
}

/** What is needed of a pool of `pg`. */
export interface PgPool {
  connect(): Promise<PgPoolClient>;
  end(): Promise<void>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'acquire', listener: (client: PgPoolClient) => void): unknown;
  removeListener(event: 'error', listener: (error: Error) => void): unknown;
  removeListener(event: 'acquire', listener: (client: PgPoolClient) => void): unknown;
}

/** A string of several statements gives a list of results; the last one speaks. */
export function lastResult(result: PgResult | readonly PgResult[]): PgResult {
  const last = Array.isArray(result) ? (result as readonly PgResult[]).at(-1) : (result as PgResult);
  return last ?? { command: '', rowCount: 0, rows: [] };
}
