import type { MessageTransport } from '@lockstep/outbox';

/** A broker for tests that outlives the processes that use it: a table, polled. */
export declare class TableTransport implements Pick<MessageTransport, keyof MessageTransport> {
  constructor(url: string);
  publish: MessageTransport['publish'];
  consume: MessageTransport['consume'];
  close: MessageTransport['close'];
}
