import { checkpoint } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { MESSAGE_TRANSPORT, type MessageTransport } from '../message-transport.js';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { type Acknowledgement, ackMessage, ackRoute } from './acknowledgement.js';

/**
 * Tells the origin of messages that they have ended, or wait here. Where that is this application itself, its store is told at once;
 * any other is told through the transport, so that producer and consumer need not share a database.
 */
@Injectable()
export class AckSender {
  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(MESSAGE_TRANSPORT) private readonly transport: MessageTransport,
  ) {}

  /** This application, whose store takes over what died here and names no origin. */
  get ownOrigin(): string {
    return this.options.origin;
  }

  /** How soon an origin publishes a message again, as far as is known here: where it is another one, it may differ. */
  get redeliverAfterMs(): number {
    return this.options.redeliverAfterMs;
  }

  /** @throws StoreUnavailableError when it is not known to have arrived; sending again does no harm */
  async send(origin: string, acknowledgements: readonly Acknowledgement[]): Promise<void> {
    if (origin === this.options.origin) await this.store.settle(acknowledgements);
    else await this.publish(origin, acknowledgements);
    checkpoint('outbox.acked', { acknowledgements: acknowledgements.length });
  }

  private async publish(origin: string, acknowledgements: readonly Acknowledgement[]): Promise<void> {
    const [outcome] = await this.transport.publish(ackRoute(origin), [ackMessage(acknowledgements)]);
    if (outcome?.outcome !== 'accepted')
      throw new Error(`the transport refuses an acknowledgement: ${outcome?.reason}`);
  }
}
