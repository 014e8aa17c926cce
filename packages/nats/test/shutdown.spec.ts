import 'reflect-metadata';
import { Incidents } from '@lockstep/core';
import { natsTransport } from '@lockstep/nats';
import { OnMessage, OutboxModule } from '@lockstep/outbox';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually, freePort, startNats } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';

@Injectable()
class Points {
  @OnMessage('order.placed', { consumer: 'points' })
  async grant(): Promise<void> {}
}

describe('an application whose NATS is away', () => {
  const database = usePostgres();

  it.each(['before it started', 'while it ran'])(
    'ends at once with nothing under way (away %s)',
    async (since) => {
      const port = await freePort();
      const server = since === 'while it ran' ? await startNats({ port }) : undefined;
      const app = await Test.createTestingModule({
        imports: [
          SqlModule.forRoot({ driver: pgDriver({ url: database.url }) }),
          OutboxModule.forRoot({
            origin: 'mall',
            store: postgresOutboxStore(),
            transport: natsTransport({ servers: `nats://127.0.0.1:${port}` }),
          }),
        ],
        providers: [Points],
      }).compile();
      app.useLogger(false);
      const codes: string[] = [];
      app.get(Incidents).subscribe(({ code }) => codes.push(code));
      await app.init();
      await server?.kill();
      // An application that found no server has said so before anybody could listen.
      if (server) await eventually(() => expect(codes).toContain('NATS_CONNECTION_LOST'));
      const startedAt = performance.now();
      await app.close();
      expect(performance.now() - startedAt).toBeLessThan(3_000);
      expect(codes).not.toContain('DRAIN_INCOMPLETE');
      await server?.stop();
    },
    60_000,
  );
});
