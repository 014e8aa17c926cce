import { type Incident, Incidents } from '@lockstep/core';
import { type RedisClient, RedisConnection, RedisModule } from '@lockstep/redis';
import { type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

export interface Opened {
  readonly app: INestApplicationContext;
  readonly connection: RedisConnection;
  readonly incidents: Incident[];
}

@Module({})
class Root {}

/** A connection as an application gets it. */
export async function openConnection(
  source: { readonly url: string } | { readonly client: RedisClient },
  namespace: string,
  commandTimeout = 300,
): Promise<Opened> {
  const imports = [RedisModule.forRoot({ ...source, namespace, commandTimeout })];
  const app = await NestFactory.createApplicationContext(
    { module: Root, imports },
    { logger: false, abortOnError: false },
  );
  const incidents: Incident[] = [];
  app.get(Incidents).subscribe((incident) => incidents.push(incident));
  return { app, connection: app.get(RedisConnection), incidents };
}
