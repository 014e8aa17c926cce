import { FencedRedis, fencedRedis } from '@lockstep/lock/redis';
import { fencedRead, fencedUpdate } from '@lockstep/lock/sql';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CONTROL, type Register } from './register.js';
import type { WorkerSetting } from './worker-setting.js';

@Module({})
class Resources {}

/** The registers of a worker, on servers that no fault touches; they live as long as the process. */
export async function openRegisters({ resourceUrl, databaseUrl, namespace }: WorkerSetting): Promise<Register[]> {
  const app = await NestFactory.createApplicationContext(
    {
      module: Resources,
      imports: [
        RedisModule.forRoot({ url: resourceUrl, namespace }),
        SqlModule.forRoot({ driver: pgDriver({ url: databaseUrl, maxConnections: 2 }) }),
      ],
      providers: [fencedRedis()],
    },
    { logger: false, abortOnError: false },
  );
  return [
    redisRegister(app.get(FencedRedis)),
    rowRegister(app.get(Sql), namespace),
    controlRegister(app.get(RedisConnection)),
  ];
}

function redisRegister(redis: FencedRedis): Register {
  return {
    name: 'redis',
    read: async (key, fence) => (await redis.read(key, fence)) ?? '',
    write: (key, value, fence) => redis.write(key, value, fence),
  };
}

function rowRegister(sql: Sql, namespace: string): Register {
  const row = (key: string, fence: bigint) => ({ table: 'register', key: { id: `${namespace}:${key}` }, fence });
  return {
    name: 'row',
    read: async (key, fence) => {
      const found = await fencedRead<{ value: string }>(sql, { ...row(key, fence), columns: ['value'] });
      if (!found) throw new Error(`there is no row of ${key}`);
      return found.value;
    },
    write: async (key, value, fence) => {
      const touched = await fencedUpdate(sql, { ...row(key, fence), set: { value } });
      if (touched !== 1) throw new Error(`${touched} rows of ${key} were written`);
    },
  };
}

function controlRegister(connection: RedisConnection): Register {
  return {
    name: CONTROL,
    read: async (key) => {
      const value = await connection.command('chaos.read', 'get', connection.key(CONTROL, key));
      return typeof value === 'string' ? value : '';
    },
    write: async (key, value) => {
      await connection.command('chaos.write', 'set', connection.key(CONTROL, key), value);
    },
  };
}
