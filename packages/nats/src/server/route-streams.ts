import {
  AckPolicy,
  type ConsumerInfo,
  DeliverPolicy,
  DiscardPolicy,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamInfo,
} from '@nats-io/jetstream';
import { type NatsConnection, nanos } from '@nats-io/transport-node';
import { API_ERROR, isApiError } from './nats-errors.js';
import type { Remaining } from './nats-link.js';
import { digest, type RouteNames } from './route-names.js';

/** Creates what a route needs at the server, and creates it again when the server has lost it. */
export class RouteStreams {
  private readonly known = new Set<string>();

  constructor(
    private readonly replicas: number,
    private readonly ackWaitMs: number,
  ) {}

  /** Creates the stream of a route unless this process knows that it is there. */
  async ensure(nats: NatsConnection, names: RouteNames, remaining: Remaining): Promise<void> {
    if (this.known.has(names.stream)) return;
    await this.createStream(await managerOf(nats, remaining()), names);
    this.known.add(names.stream);
  }

  /** The stream was found missing: the next `ensure` asks the server. */
  forget(names: RouteNames): void {
    this.known.delete(names.stream);
  }

  /**
   * Creates the durable consumer of a route, after its stream, and resolves to its name.
   *
   * The name belongs to this life of the stream: a server that lost its data counts messages from one again, and a late
   * acknowledgement of an old message would otherwise end a new one with the same number.
   */
  async ensureConsumer(nats: NatsConnection, names: RouteNames, remaining: Remaining): Promise<string> {
    const manager = await managerOf(nats, remaining());
    const stream = await this.createStream(manager, names);
    this.known.add(names.stream);
    const consumer = await this.consumerOf(manager, names, stream);
    if (consumer.config.ack_wait !== nanos(this.ackWaitMs)) {
      await manager.consumers.update(names.stream, consumer.name, { ack_wait: nanos(this.ackWaitMs) });
    }
    await sweepNotes(manager, names, consumer);
    return consumer.name;
  }

  private async createStream(manager: JetStreamManager, names: RouteNames): Promise<StreamInfo> {
    try {
      return await manager.streams.add({
        name: names.stream,
        subjects: [names.messages, `${names.notes}.*`],
        retention: RetentionPolicy.Workqueue,
        storage: StorageType.File,
        // A full disk must refuse new messages, which their senders keep, and not drop old ones, which nobody has.
        discard: DiscardPolicy.New,
        num_replicas: this.replicas,
        allow_rollup_hdrs: true,
      });
    } catch (error) {
      // Somebody has given it other limits or copies: theirs hold.
      if (!isApiError(error, API_ERROR.streamExists)) throw error;
      return this.laidOut(manager, names, await manager.streams.info(names.stream));
    }
  }

  /** Gives a stream of the layout before its new subjects, which take in the old one: its messages stay. */
  private async laidOut(manager: JetStreamManager, names: RouteNames, stream: StreamInfo): Promise<StreamInfo> {
    if (!stream.config.subjects.includes(names.sharedSubject)) return stream;
    const others = stream.config.subjects.filter((subject) => subject !== names.sharedSubject);
    const updated = await manager.streams.update(names.stream, { subjects: [names.messages, ...others] });
    await this.consumerOf(manager, names, updated);
    return updated;
  }

  private async consumerOf(
    manager: JetStreamManager,
    names: RouteNames,
    { created }: StreamInfo,
  ): Promise<ConsumerInfo> {
    const existing = await theOnlyConsumer(manager, names);
    const isOutdated = existing?.config.filter_subject === names.sharedSubject;
    if (existing && !isOutdated) return existing;
    // Not updated: it has passed over the messages that it does not filter, and would never come back to them.
    if (existing) await deleteConsumer(manager, existing);
    return this.createConsumer(manager, names, `m${digest(created)}`);
  }

  private createConsumer(manager: JetStreamManager, names: RouteNames, name: string): Promise<ConsumerInfo> {
    return manager.consumers.add(names.stream, {
      durable_name: name,
      filter_subject: names.messages,
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.All,
      ack_wait: nanos(this.ackWaitMs),
      max_deliver: -1,
      // Messages that wait for their next attempt count as unacknowledged: a limit would stop all others behind them.
      max_ack_pending: -1,
    });
  }
}

export function managerOf(nats: NatsConnection, timeoutMs: number): Promise<JetStreamManager> {
  return jetstreamManager(nats, { checkAPI: false, timeout: timeoutMs });
}

/** Another process may do the same at the same time. */
async function deleteConsumer(manager: JetStreamManager, { stream_name, name }: ConsumerInfo): Promise<void> {
  try {
    await manager.consumers.delete(stream_name, name);
  } catch (error) {
    if (!isApiError(error, API_ERROR.consumerNotFound)) throw error;
  }
}

/** A work queue allows one consumer; a stream that was restored from a backup may bring one with an older name. */
async function theOnlyConsumer(manager: JetStreamManager, { stream }: RouteNames): Promise<ConsumerInfo | undefined> {
  const [first] = await manager.consumers.list(stream).next();
  return first;
}

/**
 * Removes notes that a process left which died between ending a message and removing its note. A note is younger than
 * its message: those up to the last number before which everything has ended belong to nothing any more.
 */
async function sweepNotes(manager: JetStreamManager, names: RouteNames, consumer: ConsumerInfo): Promise<void> {
  const floor = consumer.ack_floor.stream_seq;
  if (floor > 0) await manager.streams.purge(names.stream, { filter: `${names.notes}.*`, seq: floor + 1 });
}
