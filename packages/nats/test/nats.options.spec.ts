import 'reflect-metadata';
import { CoreModule } from '@lockstep/core';
import { type NatsTransportOptions, natsTransport } from '@lockstep/nats';
import { MESSAGE_TRANSPORT } from '@lockstep/outbox';
import { useNats } from '@lockstep/testing/vitest';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';

describe('options', () => {
  const servers = 'nats://127.0.0.1:1';
  const wrong: [string, unknown, RegExp][] = [
    ['nothing', undefined, /'nats options' is undefined/],
    ['neither servers nor connection', {}, /exactly one/],
    ['both servers and connection', { servers, connection: { request: () => undefined } }, /exactly one/],
    ['an empty list of servers', { servers: [] }, /'servers'/],
    ['a URL of something else', { servers: 'http://x' }, /'servers' is 'http:\/\/x'/],
    ['a URL that is none', { servers: [5] }, /'servers' is 5/],
    ['settings in place of a connection', { connection: { pass: 'PASSW0RD' } }, /is an object with pass;/],
    ['a namespace with a dot', { servers, namespace: 'a.b' }, /'namespace' is 'a.b'/],
    ['a wait of no time', { servers, ackWait: '1ms' }, /'ackWait'/],
    ['no room for a message', { servers, maxMessageBytes: 0 }, /'maxMessageBytes' is 0/],
    ['six replicas', { servers, replicas: 6 }, /'replicas' is 6/],
  ];

  it.each(wrong)('%s is refused when the module is put together, naming the option', (_, options, message) => {
    expect(() => natsTransport(options as NatsTransportOptions)).toThrow(message);
  });

  it('no password is shown of a URL that is refused', () => {
    const resolve = () => natsTransport({ servers: 'mysql://user:PASSW0RD@host' });
    expect(resolve).toThrow(/'mysql:\/\/\*\*\*@host'/);
    expect(resolve).not.toThrow('PASSW0RD');
    // Without the @, what should stand before it looks like a host.
    const forgotten = () => natsTransport({ servers: 'nats://user:PASSW0RD' });
    expect(forgotten).toThrow(/'nats:\/\/\*\*\*'/);
    expect(forgotten).not.toThrow('PASSW0RD');
  });

  it.each(['localhost:4222', 'tls://u:p%40@h:4222', 'nats://token@h'])('%s is a server', (server) => {
    expect(() => natsTransport({ servers: [server] })).not.toThrow();
  });
});

describe('in an application', () => {
  const nats = useNats();

  it('the driver is made by Nest and ends with it', async () => {
    const { inject = [], ...driver } = natsTransport({ servers: nats.url, namespace: nats.namespace });
    const module = await Test.createTestingModule({
      imports: [CoreModule],
      providers: [{ provide: MESSAGE_TRANSPORT, ...driver, inject: [...inject] as never[] }],
    }).compile();
    await module.init();
    const transport = module.get(MESSAGE_TRANSPORT);
    const route = { topic: 'orders', consumer: 'nobody' };
    await expect(transport.publish(route, [])).resolves.toEqual([]);
    await module.close();
    const message = { id: 'x1', topic: 'orders', key: undefined, payload: '1', headers: {}, publishedAt: 1 };
    await expect(transport.publish(route, [message])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });
});
