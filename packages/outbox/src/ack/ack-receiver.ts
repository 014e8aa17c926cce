import { Incidents } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { isNoFaultOfTheMessage } from '../consumer/verdict.js';
import { type Delivery, type DeliveryOutcome, MESSAGE_TRANSPORT, type MessageTransport } from '../message-transport.js';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { OutboxLifecycle } from '../outbox-lifecycle.js';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { type Acknowledgement, ackRoute, readAckMessage } from './acknowledgement.js';

const RETRY_MS = 1_000;
const ATTEMPTS = 5;

/**
 * Settles, in the origin's store, what consumers elsewhere have acknowledged. Runs beside the relay.
 *
 * ```
 * batch --settled--> done
 *       --store away | conflict--> postpone, all
 *       --refused--> one by one --settled--> done
 *                               --store away | conflict--> postpone
 *                               --refused--> retry, dropped at the fifth time
 * ```
 */
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
    const read = batch.map((delivery) => this.read(delivery));
    try {
      await this.store.settle(read.flat());
      return batch.map(() => ({ outcome: 'done' }));
    } catch (error) {
      this.reportUnsettled(error, read.flat().length);
      if (isNoFaultOfTheMessage(error)) return batch.map(() => ({ outcome: 'postpone', delayMs: RETRY_MS, error }));
    }
    const outcomes: DeliveryOutcome[] = [];
    for (const [index, { attempt }] of batch.entries())
      outcomes.push(await this.settleEach(read[index] ?? [], attempt));
    return outcomes;
  }

  /** So that those that the store can settle do not wait for one that it cannot. */
  private async settleEach(acknowledgements: readonly Acknowledgement[], attempt: number): Promise<DeliveryOutcome> {
    let outcome: DeliveryOutcome = { outcome: 'done' };
    for (const acknowledgement of acknowledgements) {
      try {
        await this.store.settle([acknowledgement]);
      } catch (error) {
        if (isNoFaultOfTheMessage(error)) return { outcome: 'postpone', delayMs: RETRY_MS, error };
        if (attempt >= ATTEMPTS) this.reportDropped(error, acknowledgement);
        else outcome = { outcome: 'retry', delayMs: RETRY_MS, error };
      }
    }
    return outcome;
  }

  private reportUnsettled(cause: unknown, acknowledgements: number): void {
    this.incidents.report({
      code: 'OUTBOX_ACK_FAILED',
      source: 'outbox.ack',
      message: 'acknowledgements from elsewhere could not be settled; they are tried again',
      cause,
      fields: { acknowledgements },
    });
  }

  private reportDropped(cause: unknown, { outcome, consumer, messageId }: Acknowledgement): void {
    this.incidents.report({
      code: 'OUTBOX_ACK_MALFORMED',
      source: 'outbox.ack',
      message: 'the store refuses an acknowledgement again and again; it is dropped',
      cause,
      fields: { outcome, consumer, id: messageId },
    });
  }

  /** What cannot be read is dropped: the messages that it was about are re-delivered and acknowledged again. */
  private read({ message }: Delivery): readonly Acknowledgement[] {
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
