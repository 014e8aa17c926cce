import type { BackendFactory, IQueueBackend, Job, Queue } from 'bullmq';

/** What a job carries is read back from a server that others can write to: it is checked by whoever reads it. */
export type JobQueue = Queue<unknown, void, string, unknown, void, string, IQueueBackend>;
export type QueuedJob = Job<unknown, void>;

/** Where jobs live. Knows how to reach it, nothing of what the jobs mean. */
export interface JobServer {
  /** As an operator knows it; stands in errors. */
  readonly store: 'redis' | 'postgres';
  /** Keeps the queues of different applications apart; `undefined` where the queue's name does it. */
  readonly prefix: string | undefined;
  /** Whether the answers to a worker's commands arrive in the order in which the server executed them. */
  readonly answersInOrder: boolean;
  /** Whether commands can be sent, as far as is known. */
  readonly isReady: boolean;
  /** Makes the connections of a BullMQ queue or worker. Bound to this server: the `connection` option is ignored. */
  readonly backendFactory: BackendFactory;
  /** The name of a queue on this server. */
  queueName(kind: string, entity: string): string;
  /** Resolves as soon as commands can be sent; waits without end while they cannot, and rejects after `close`. */
  whenReady(): Promise<void>;
  /** Ends every connection, also those that hang. Queues and workers should be closed before. */
  close(): Promise<void>;
}
