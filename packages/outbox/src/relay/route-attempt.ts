import { isLockstepError, messageOfThrown } from '@lockstep/core';
import type { MessageRoute, MessageTransport } from '../message-transport.js';
import type { OutboxDelivery } from '../outbox-store.js';
import type { Suspects } from './suspects.js';

/** A delivery that ends here: the transport refuses it, or fails because of it. */
export interface Refused {
  readonly delivery: OutboxDelivery;
  readonly reason: string;
}

/**
 * Publishes the deliveries of one route, in their order. Where the transport fails for a batch, otherwise than by
 * silence, halves are tried, so that what cannot be published stands alone and the others flow. A route that fails for
 * everything is not searched to the end. One use.
 */
export class RouteAttempt {
  readonly refused: Refused[] = [];
  /** The transport did not answer. */
  readonly away: OutboxDelivery[] = [];
  /** The transport failed for these, for a reason of the route or of their own that is not known yet. */
  readonly broken: OutboxDelivery[] = [];
  /** How many the transport answered for. */
  answered = 0;
  cause: unknown;
  private failuresInARow = 0;
  private patience = 0;

  constructor(
    readonly route: MessageRoute,
    private readonly transport: MessageTransport,
    private readonly suspects: Suspects,
  ) {}

  async publish(deliveries: readonly OutboxDelivery[]): Promise<void> {
    // Enough for two that fail side by side to be found from the top.
    this.patience = 2 * Math.ceil(Math.log2(deliveries.length + 1)) + 2;
    await this.part(deliveries);
  }

  private async part(deliveries: readonly OutboxDelivery[]): Promise<void> {
    if (this.away.length > 0) this.away.push(...deliveries);
    else if (this.failuresInARow > this.patience) this.broken.push(...deliveries);
    else {
      try {
        await this.send(deliveries);
      } catch (cause) {
        await this.failed(deliveries, cause);
      }
    }
  }

  private async send(deliveries: readonly OutboxDelivery[]): Promise<void> {
    const messages = deliveries.map(({ message }) => message);
    const outcomes = await this.transport.publish(this.route, messages);
    if (outcomes.length !== deliveries.length) {
      throw new Error(`the transport gave ${outcomes.length} outcomes for ${deliveries.length} messages`);
    }
    this.failuresInARow = 0;
    this.answered += deliveries.length;
    const refused = deliveries.flatMap((delivery, index): Refused[] => {
      const outcome = outcomes[index];
      return outcome?.outcome === 'rejected' ? [{ delivery, reason: outcome.reason }] : [];
    });
    this.refused.push(...refused);
    // A route that refuses everything has not shown that it works.
    if (refused.length < deliveries.length) {
      this.suspects.taken(
        this.route,
        messages.map(({ id }) => id),
      );
    }
  }

  private async failed(deliveries: readonly OutboxDelivery[], cause: unknown): Promise<void> {
    this.cause = cause;
    if (isLockstepError(cause) && cause.kind === 'unavailable') {
      this.away.push(...deliveries);
      return;
    }
    this.failuresInARow += 1;
    const [first, second] = deliveries;
    if (first && !second) {
      this.failedAlone(first, cause);
      return;
    }
    const middle = deliveries.length >> 1;
    await this.part(deliveries.slice(0, middle));
    await this.part(deliveries.slice(middle));
  }

  private failedAlone(delivery: OutboxDelivery, cause: unknown): void {
    if (!this.suspects.strike(this.route, delivery.message.id)) this.broken.push(delivery);
    else this.refused.push({ delivery, reason: `it cannot be published: ${messageOfThrown(cause)}` });
  }
}
