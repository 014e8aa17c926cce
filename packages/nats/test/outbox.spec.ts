import 'reflect-metadata';
import { type Incident, Incidents } from '@lockstep/core';
import { natsTransport } from '@lockstep/nats';
import { OnMessage, OutboxModule, OutboxService } from '@lockstep/outbox';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually, freePort, startNats } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import pg from 'pg';
import { describe, expect, it } from 'vitest';

const PATIENT = { timeoutMs: 60_000, intervalMs: 50 };

@Injectable()
class Points {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('order.placed', { consumer: 'points', concurrency: 2 })
  async grant({ order }: { order: number }): Promise<void> {
    await this.sql.requireCurrent('points').execute('INSERT INTO points (order_id) VALUES ($1)', [order]);
  }
}

describe('the outbox over NATS', () => {
  const database = usePostgres();

  it('every message takes effect once although NATS is restarted with nothing in the middle', async () => {
    const server = await startNats({ port: await freePort() });
    const db = new pg.Client(database.url);
    await db.connect();
    await db.query('CREATE TABLE points (order_id bigint NOT NULL)');
    const app = await Test.createTestingModule({
      imports: [
        SqlModule.forRoot({ driver: pgDriver({ url: database.url }) }),
        OutboxModule.forRoot({
          origin: 'mall',
          store: postgresOutboxStore(),
          transport: natsTransport({ servers: server.url, ackWait: '1s' }),
          redeliverAfter: '1s',
          redeliverAtMost: '2s',
        }),
      ],
      providers: [Points],
    }).compile();
    app.useLogger(false);
    const incidents: Incident[] = [];
    app.get(Incidents).subscribe((incident) => incidents.push(incident));
    await app.init();
    const [sql, outbox] = [app.get(Sql), app.get(OutboxService)];
    const place = (from: number, to: number) =>
      sql.transaction(async () => {
        for (let order = from; order < to; order += 1) await outbox.publish('order.placed', { order });
      });
    const granted = async () =>
      (await db.query<{ id: number }>('SELECT order_id::int AS id FROM points ORDER BY 1')).rows.map(({ id }) => id);
    try {
      await place(0, 150);
      await eventually(async () => expect((await granted()).length).toBeGreaterThan(0), PATIENT);
      const [restarted] = await Promise.all([server.restart({ empty: true }), place(150, 300)]);
      expect(restarted).toBeUndefined();
      await place(300, 350);
      await eventually(async () => {
        expect(await granted()).toEqual(Array.from({ length: 350 }, (_, order) => order));
        expect((await db.query('SELECT 1 FROM lockstep_outbox_inflight')).rows).toHaveLength(0);
      }, PATIENT);
      expect(incidents.map(({ code }) => code)).not.toContain('OUTBOX_MESSAGE_DEAD');
      expect(incidents.map(({ code }) => code)).toContain('NATS_CONNECTION_LOST');
    } finally {
      await app.close();
      await db.end();
      await server.stop();
    }
  }, 150_000);
});
