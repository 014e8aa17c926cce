import 'reflect-metadata';
import { type BullmqTransportOptions, bullmqTransport } from '@lockstep/bullmq';
import { OutboxModule, type OutboxModuleOptions } from '@lockstep/outbox';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import type { INestApplicationContext, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

export const CONSUMER = 'bench';

export interface Servers {
  readonly databaseUrl: string;
  readonly redisUrl: string;
}

class BenchModule {}

/** An application with an outbox in Postgres and BullMQ on Redis. */
export function ourApplication(
  { databaseUrl, redisUrl }: Servers,
  options: Partial<OutboxModuleOptions>,
  providers: readonly Type[] = [],
  maxConnections = 16,
): Promise<INestApplicationContext> {
  const transport: BullmqTransportOptions = { redis: { url: redisUrl }, commandTimeout: '10s' };
  const imports = [
    SqlModule.forRoot({ driver: pgDriver({ url: databaseUrl, maxConnections }), commandTimeout: '10s' }),
    OutboxModule.forRoot({
      origin: 'bench',
      store: postgresOutboxStore(),
      transport: bullmqTransport(transport),
      ...options,
    }),
  ];
  return NestFactory.createApplicationContext(
    { module: BenchModule, imports, providers: [...providers] },
    { logger: ['error'] },
  );
}
