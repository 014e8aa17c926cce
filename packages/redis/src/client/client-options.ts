const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;
const KEEP_ALIVE_MS = 15_000;

/** Pause before the nth attempt to reconnect: doubling, bounded, spread so that a fleet does not return in one wave. */
export function reconnectPauseMs(attempt: number): number {
  const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(attempt - 1, 10), LONGEST_PAUSE_MS);
  return Math.round(pauseMs * (0.75 + Math.random() * 0.5));
}

/**
 * What a guarantee needs of a connection, whatever the application chose for its own:
 * - a command that cannot be sent now fails now, instead of being sent when nobody waits for it any longer;
 * - a command whose answer is lost is never sent again behind our back: only its sender knows whether that is safe;
 * - a server that has gone silent loses the connection, so that a half-open one is replaced.
 */
export function guaranteeOptions(commandTimeoutMs: number): Readonly<Record<string, unknown>> {
  return {
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandTimeoutMs,
    socketTimeout: commandTimeoutMs * 3,
    connectTimeout: commandTimeoutMs * 3,
    // A half-open connection never says that it is closed; who waits for its successor has one command timeout.
    disconnectTimeout: commandTimeoutMs / 2,
    // Devices on the way forget a connection that is idle.
    keepAlive: KEEP_ALIVE_MS,
    retryStrategy: reconnectPauseMs,
    // A demoted master refuses writes: reconnect (behind a name or a sentinel stands another), but do not resend.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    enableReadyCheck: true,
    enableAutoPipelining: false,
    lazyConnect: false,
    readOnly: false,
    keyPrefix: '',
    stringNumbers: false,
  };
}

/** The same for a Cluster: node options go one level down, and the client must not retry on its own. */
export function clusterOptions(commandTimeoutMs: number, own: object): Readonly<Record<string, unknown>> {
  const nodeOptions = (own as { redisOptions?: object }).redisOptions;
  return {
    redisOptions: { ...nodeOptions, ...guaranteeOptions(commandTimeoutMs) },
    // Without it a Cluster refuses what a node that is just being connected should do, its own ready check included.
    // Nothing waits in it for long: what is sent to a Cluster that is not ready is refused before.
    enableOfflineQueue: true,
    enableAutoPipelining: false,
    lazyConnect: false,
    keyPrefix: '',
    scaleReads: 'master',
    clusterRetryStrategy: reconnectPauseMs,
    maxRedirections: 5,
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
  };
}
