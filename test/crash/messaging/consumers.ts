import { type Message, MessageRefusedError, OnMessage, type OnMessageOptions, type Reply } from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { failuresOf, noteEffect, noteFailure, noteReply } from './books.js';
import { BATCHED, type ConsumerName, type Errand, FAST, KEPT, REPLIES, REPLY_READER, STRICT } from './errand.js';

/** A poisonous message that is found to be one has killed so many processes alone, and two more in company. */
const ATTEMPTS = 4;
/** Longer than a process may be silent before its jobs go to another. */
const BLOCKED_MS = 2_500;
const SEQUENCE_HEADER = 'Lockstep-Sequence';
const MANNER = {
  attempts: ATTEMPTS,
  backoff: { first: 40, atMost: 400 },
  concurrency: 3,
  batchSize: 8,
} satisfies Omit<OnMessageOptions, 'consumer'>;

/** Everything that is consumed: an effect in the transaction of the inbox row, or the fate of the message. */
@Injectable()
export class Consumers {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage(KEPT, { consumer: 'alpha', ...MANNER })
  async keptByAlpha(errand: Errand, message: Message): Promise<string> {
    await this.run('alpha', errand, message);
    return errand.tag;
  }

  @OnMessage(KEPT, { consumer: 'beta', ...MANNER })
  async keptByBeta(errand: Errand, message: Message): Promise<string> {
    await this.run('beta', errand, message);
    return errand.tag;
  }

  @OnMessage(FAST, { consumer: 'alpha', ...MANNER })
  async fastByAlpha(errand: Errand, message: Message): Promise<void> {
    await this.run('alpha', errand, message);
  }

  @OnMessage(STRICT, { consumer: 'alpha', ...MANNER })
  async strictByAlpha(errand: Errand, message: Message): Promise<void> {
    await this.run('alpha', errand, message);
  }

  @OnMessage(BATCHED, { consumer: 'beta', ...MANNER, batch: true })
  async batchedByBeta(errands: Errand[], messages: Message[]): Promise<void> {
    for (const [index, message] of messages.entries()) {
      const errand = errands[index];
      if (errand) await this.run('beta', errand, message);
    }
  }

  @OnMessage(REPLIES, { consumer: REPLY_READER, ...MANNER })
  async read({ consumer, outcome }: Reply, { inReplyTo }: Message): Promise<void> {
    await noteReply(this.sql.requireCurrent(REPLIES), consumer, inReplyTo ?? 'nothing', outcome);
  }

  private async run(consumer: ConsumerName, errand: Errand, { topic, headers }: Message): Promise<void> {
    await noteEffect(this.sql.requireCurrent(topic), consumer, errand.tag, headers[SEQUENCE_HEADER]);
    if (errand.at === consumer) await this.meetFate(consumer, errand);
  }

  /** After the effect, which must not outlive it. */
  private async meetFate(consumer: ConsumerName, { fate, tag, failures }: Errand): Promise<void> {
    if (fate === 'poison') process.kill(process.pid, 'SIGKILL');
    if (fate === 'blocking') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BLOCKED_MS);
    if (fate === 'refused') throw new MessageRefusedError('as it was fated');
    if (fate !== 'flaky' || (await failuresOf(this.sql, consumer, tag)) >= failures) return;
    await noteFailure(this.sql, consumer, tag);
    throw new Error('not yet');
  }
}
