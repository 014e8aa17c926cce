import 'reflect-metadata';
import { type BullmqServerOptions, bullmqTransport } from '@lockstep/bullmq';
import { Incidents } from '@lockstep/core';
import { OnMessage, OutboxModule } from '@lockstep/outbox';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually, freePort, startPostgres, startRedis } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';

@Injectable()
class Points {
  @OnMessage('order.placed', { consumer: 'points' })
  async grant(): Promise<void> {}
}

const KINDS = [
  {
    name: 'redis',
    start: (port: number) => startRedis({ port }),
    options: (port: number): BullmqServerOptions => ({ redis: { url: `redis://127.0.0.1:${port}` } }),
  },
  {
    name: 'postgres',
    start: (port: number) => startPostgres({ port }),
    options: (port: number): BullmqServerOptions => ({
      postgres: { url: `postgres://postgres@127.0.0.1:${port}/postgres` },
    }),
  },
];

describe.each(KINDS)('an application whose transport on $name is away', ({ start, options }) => {
  const database = usePostgres();

  it.each(['before it started', 'while it ran'])(
    'ends at once with nothing under way (away %s)',
    async (since) => {
      const port = await freePort();
      const server = since === 'while it ran' ? await start(port) : undefined;
      const app = await Test.createTestingModule({
        imports: [
          SqlModule.forRoot({ driver: pgDriver({ url: database.url }) }),
          OutboxModule.forRoot({
            origin: 'mall',
            store: postgresOutboxStore(),
            transport: bullmqTransport(options(port)),
          }),
        ],
        providers: [Points],
      }).compile();
      app.useLogger(false);
      const codes: string[] = [];
      app.get(Incidents).subscribe(({ code }) => codes.push(code));
      await app.init();
      await server?.kill();
      await eventually(() => expect(codes.some((code) => /_CONNECTION_FAILED|_NOT_READY/.test(code))).toBe(true));
      const startedAt = performance.now();
      await app.close();
      expect(performance.now() - startedAt).toBeLessThan(3_000);
      expect(codes).not.toContain('DRAIN_INCOMPLETE');
    },
    60_000,
  );
});
