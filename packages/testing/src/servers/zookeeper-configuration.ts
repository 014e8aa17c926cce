/** The settings of the server that tests turn; all times are milliseconds. */
export interface ZooKeeperSettings {
  /**
   * The server looks for expired sessions, and rounds their deadlines, at this interval.
   * @default 500
   */
  readonly tickTime?: number;
  /**
   * The shortest session that a client can have.
   * @default 1000
   */
  readonly minSessionTimeout?: number;
  /**
   * The longest session that a client can have.
   * @default 60000
   */
  readonly maxSessionTimeout?: number;
  /**
   * Connections that one address may have; 0 is any number.
   * @default 0
   */
  readonly maxClientCnxns?: number;
  /**
   * Whether the log is on disk before a write is answered.
   * @default false
   */
  readonly forceSync?: boolean;
}

/** The text of `zoo.cfg`: one node, no admin server (it would listen on a port of its own), all four-letter words. */
export function zooKeeperConfiguration(
  settings: ZooKeeperSettings,
  dataDir: string,
  address: { readonly host: string; readonly port: number },
): string {
  const { tickTime = 500, minSessionTimeout = 1000, maxSessionTimeout = 60_000 } = settings;
  const { maxClientCnxns = 0, forceSync = false } = settings;
  const lines = {
    dataDir,
    clientPort: address.port,
    clientPortAddress: address.host,
    tickTime,
    minSessionTimeout,
    maxSessionTimeout,
    maxClientCnxns,
    forceSync: forceSync ? 'yes' : 'no',
    'admin.enableServer': false,
    '4lw.commands.whitelist': '*',
    preAllocSize: 1024, // KiB; the default of 64 MiB is written at every start
  };
  return Object.entries(lines)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}
