import { AsyncResource } from 'node:async_hooks';
import { Incidents } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { ConsumerStarter } from '../consumer/consumer-starter.js';
import { plainHandler } from '../consumer/plain-handler.js';
import type { FailureNotice } from '../failure-notice.js';
import type { Message } from '../message.js';
import { FAILED_TOPIC } from '../message-headers.js';
import { type Compensator, type Named, TransactionalHandlers } from './transactional-handlers.js';

/** Compensator of the messages that have none: it raises an incident. */
export const ALARM = 'lockstep.alarm';

/**
 * Consumes the notices of messages that were given up, for each compensator: once, in a transaction with the inbox row,
 * tried again like any message. For those that have no compensator it raises an incident.
 */
@Injectable()
export class CompensationConsumers implements OnApplicationBootstrap {
  private alarmed = false;
  private startOutside: ((handler: ReturnType<typeof plainHandler>) => void) | undefined;

  constructor(
    @Inject(ConsumerStarter) private readonly starter: ConsumerStarter,
    @Inject(TransactionalHandlers) private readonly handlers: TransactionalHandlers,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  onApplicationBootstrap(): void {
    // What runs for good must not be part of the request that was the first to need it.
    this.startOutside = AsyncResource.bind((handler) => this.starter.start(handler));
    for (const compensator of this.handlers.allCompensators()) this.consume(compensator);
    if (this.alarmed) this.consumeAlarm();
  }

  /** To be called by whoever sends a message that has no compensator; at boot, or at the first of them. */
  startAlarm(): void {
    if (this.alarmed) return;
    this.alarmed = true;
    this.consumeAlarm();
  }

  private consume({ name, run }: Named<Compensator>): void {
    const compensate = async ({ body }: Message): Promise<unknown> => {
      const notice = body as FailureNotice;
      return run(JSON.parse(notice.payload) as never, notice);
    };
    this.startOutside?.(plainHandler(`compensator ${name}`, { topic: FAILED_TOPIC, consumer: name }, compensate));
  }

  private consumeAlarm(): void {
    const raise = async ({ body }: Message): Promise<void> => {
      const { messageId, topic, consumer, error } = body as FailureNotice;
      this.incidents.report({
        code: 'OUTBOX_TRANSACTIONAL_MESSAGE_FAILED',
        source: 'outbox.transactional',
        message: `a message whose work is committed was given up, and there is no compensator: ${error}`,
        fields: { id: messageId, topic, consumer },
      });
    };
    this.startOutside?.(plainHandler('alarm', { topic: FAILED_TOPIC, consumer: ALARM }, raise));
  }
}
