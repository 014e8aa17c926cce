/** Where a server's binaries came from. */
export type ServerSource = 'env' | 'path' | 'npm' | 'apt' | 'docker';

/** A server that can be started. */
export interface LocatedServer {
  readonly source: ServerSource;
  /** Absolute path of the server, or `docker`. */
  readonly binary: string;
  readonly version: string;
  /** What the binary needs in its environment. */
  readonly env: Readonly<Record<string, string>>;
  /** The image to run, when the source is `docker`. */
  readonly image?: string;
}

export interface LocatedPostgres extends LocatedServer {
  /** Absolute path of initdb; empty when the source is `docker`. */
  readonly initdb: string;
}

export interface LocatedZooKeeper extends LocatedServer {
  /** The jars of the server; empty when the source is `docker`. `binary` is the Java that runs them. */
  readonly classpath: readonly string[];
}

export interface LocatedMariaDb extends LocatedServer {
  /** Absolute path of mariadb-install-db; empty when the source is `docker`. */
  readonly installDb: string;
  /** The folder below which the server finds its own files; empty when the source is `docker`. */
  readonly baseFolder: string;
}

type ServerName = 'redis' | 'postgres' | 'zookeeper' | 'mariadb' | 'nats';

/** What one source answered: a server, or why it has none. */
export type Attempt<T> = { readonly found: T } | { readonly missing: string };

/** No server could be had. The message lists what was tried and what to install or set. */
export class ServerNotAvailableError extends Error {
  override readonly name = 'ServerNotAvailableError';

  constructor(
    readonly server: ServerName,
    /** Why each source had none. */
    readonly reasons: readonly string[],
    advice: string,
  ) {
    const tried = reasons.map((reason) => `  - ${reason}`).join('\n');
    super(`No ${server} server can be had. Tried:\n${tried}\n${advice}`);
  }
}

/** Asks the sources in order; the first that has a server wins. */
export async function firstFound<T>(
  server: ServerName,
  sources: ReadonlyArray<() => Promise<Attempt<T>>>,
  advice: string,
): Promise<T> {
  const reasons: string[] = [];
  for (const source of sources) {
    const attempt = await source();
    if ('found' in attempt) return attempt.found;
    reasons.push(attempt.missing);
  }
  throw new ServerNotAvailableError(server, reasons, advice);
}

/** `16.2` is at least `16`: compares dotted numbers. */
export function isAtLeast(version: string, minimum: string): boolean {
  const have = version.split('.').map(Number);
  const need = minimum.split('.').map(Number);
  for (let index = 0; index < need.length; index += 1) {
    const difference = (have[index] ?? 0) - (need[index] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
