// A consumer in a process of its own: answers 'done', kills itself on the poisonous message, and tells its parent
// what it was handed before it does anything with it.
import 'reflect-metadata';
import { DrainService, Incidents } from '@lockstep/core';
import { natsTransport } from '@lockstep/nats';

const { options, route, consume, poison, hang, flaky } = JSON.parse(process.env.CONSUMER ?? '{}');
const incidents = new Incidents();
const transport = await natsTransport(options).useFactory(incidents, new DrainService(incidents));
const told = (message) => new Promise((resolve) => process.send(message, resolve));

await transport.consume(
  route,
  async (batch) => {
    await told({ handed: batch.map(({ message, attempt }) => [message.id, attempt]) });
    if (hang) await new Promise(() => {});
    const outcomes = [];
    for (const { message, attempt } of batch) {
      if (message.id === flaky && attempt === 1)
        outcomes.push({ outcome: 'retry', delayMs: 10, error: new Error('not yet') });
      else if (message.id === poison && attempt > 2) outcomes.push({ outcome: 'dead', error: new Error('poison') });
      else if (message.id === poison) process.kill(process.pid, 'SIGKILL');
      else outcomes.push({ outcome: 'done' });
    }
    await told({
      answered: outcomes.map(({ outcome }, index) => [batch[index].message.id, outcome, batch[index].attempt]),
    });
    return outcomes;
  },
  consume,
);
process.send({ ready: true });
