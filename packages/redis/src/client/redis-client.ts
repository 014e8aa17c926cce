/** What a command may carry. */
export type RedisArgument = string | number | Buffer;

/**
 * What Lockstep needs of a client: `Redis` and `Cluster` of ioredis 5 and 6 fit. Structural, so that no class of one
 * major version appears in a public type.
 */
export interface RedisClient {
  readonly status: string;
  readonly options: object;
  call(command: string, args: RedisArgument[]): Promise<unknown>;
  duplicate(...overrides: never[]): unknown;
  on(event: string, listener: (...details: unknown[]) => void): unknown;
  off(event: string, listener: (...details: unknown[]) => void): unknown;
  /** With `true` the client connects anew; otherwise this is its end. */
  disconnect(reconnect?: boolean): void;
}

/** Whether the client speaks to a Redis Cluster. */
export function isClusterClient(client: RedisClient): boolean {
  return 'isCluster' in client && client.isCluster === true;
}
