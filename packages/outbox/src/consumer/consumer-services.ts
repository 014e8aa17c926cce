import { ContextCarriers, Incidents } from '@lockstep/core';
import { Inbox, Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { OutboxService } from '../outbox.service.js';
import { SequenceGate } from './sequence-gate.js';

/** What the consumers of an application share. */
@Injectable()
export class ConsumerServices {
  constructor(
    @Inject(Sql) readonly sql: Sql,
    @Inject(Inbox) readonly inbox: Inbox,
    @Inject(SequenceGate) readonly gate: SequenceGate,
    @Inject(OutboxService) readonly outbox: OutboxService,
    @Inject(ContextCarriers) readonly carriers: ContextCarriers,
    @Inject(Incidents) readonly incidents: Incidents,
  ) {}
}
