import { Incidents } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { type Delivery, type DeliveryOutcome, MESSAGE_TRANSPORT, type MessageTransport } from '../message-transport.js';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { OutboxLifecycle } from '../outbox-lifecycle.js';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { ackRoute, readAckMessage } from './acknowledgement.js';

const RETRY_MS = 1_000;

/** Settles, in the origin's store, what consumers elsewhere have acknowledged. Runs beside the relay. */
@Injectable()
export class AckReceiver implements OnApplicationBootstrap {
  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(MESSAGE_TRANSPORT) private readonly transport: MessageTransport,
    @Inject(OutboxLifecycle) private readonly lifecycle: OutboxLifecycle,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  onApplicationBootstrap(): void {
    if (!this.options.runRelay) return;
    this.lifecycle.consume('outbox acknowledgements', () =>
      this.transport.consume(ackRoute(this.options.origin), (batch) => this.receive(batch), {
        concurrency: 2,
        batchSize: 50,
      }),
    );
  }

  private async receive(batch: readonly Delivery[]): Promise<readonly DeliveryOutcome[]> {
    try {
      await this.store.settle(batch.flatMap((delivery) => this.read(delivery)));
      return batch.map(() => ({ outcome: 'done' }));
    } catch (error) {
      return batch.map(() => ({ outcome: 'postpone', delayMs: RETRY_MS, error }));
    }
  }

  /** What cannot be read is dropped: the messages that it was about are re-delivered and acknowledged again. */
  private read({ message }: Delivery): ReturnType<typeof readAckMessage> {
    try {
      return readAckMessage(message);
    } catch (cause) {
      this.incidents.report({
        code: 'OUTBOX_ACK_MALFORMED',
        source: 'outbox.ack',
        message: 'an acknowledgement cannot be read and is dropped',
        cause,
      });
      return [];
    }
  }
}
