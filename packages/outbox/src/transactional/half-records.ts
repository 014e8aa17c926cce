import { ConfigurationError } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { COMPENSATOR_HEADER } from '../message-headers.js';
import { MessageInvalidError } from '../outbox.errors.js';
import { OutboxService } from '../outbox.service.js';
import { ALARM, CompensationConsumers } from './compensation-consumers.js';
import { type HalfMessage, TOMBSTONE } from './prepared-message-store.js';
import { type CheckBack, checkInit, resolveCheckBack, type TransactionalMessageInit } from './transactional.options.js';
import { TransactionalHandlers } from './transactional-handlers.js';

/** Makes half messages of what the application asks for. */
@Injectable()
export class HalfRecords {
  constructor(
    @Inject(OutboxService) private readonly outbox: OutboxService,
    @Inject(TransactionalHandlers) private readonly handlers: TransactionalHandlers,
    @Inject(CompensationConsumers) private readonly compensations: CompensationConsumers,
  ) {}

  /** @throws MessageInvalidError, ConfigurationError */
  make(init: TransactionalMessageInit, checkBack?: CheckBack): HalfMessage {
    checkInit(init);
    const { topic, check, compensator, body, key, headers, delay, callback } = init;
    this.assertKnown(check, compensator);
    if (compensator === undefined) this.compensations.startAlarm();
    const record = this.outbox.recordOf({
      topic,
      body,
      ...(key === undefined ? {} : { key }),
      ...(headers === undefined ? {} : { headers }),
      ...(delay === undefined ? {} : { delay }),
      ...(callback === undefined ? {} : { callback }),
    });
    if (record.strict) {
      throw new MessageInvalidError(topic, 'a transactional message is not strict: nobody knows when it is committed');
    }
    const own = { ...record.message.headers, [COMPENSATOR_HEADER]: compensator ?? ALARM };
    return {
      record: { ...record, message: { ...record.message, headers: own } },
      checker: check ?? TOMBSTONE,
      ...(checkBack ?? resolveCheckBack(init, 'transactional message')),
    };
  }

  private assertKnown(check: string | undefined, compensator: string | undefined): void {
    if (check !== undefined && !this.handlers.checkOf(check)) {
      throw new ConfigurationError(`No check '${check}' was registered, so nobody could be asked about the message.`);
    }
    if (compensator !== undefined && !this.handlers.compensatorOf(compensator)) {
      throw new ConfigurationError(`No compensator '${compensator}' was registered, so nobody would compensate.`);
    }
  }
}
