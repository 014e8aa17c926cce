// One process of a crash test: holds a lock on ZooKeeper, says what it knows of it. Plain JavaScript: a child has no build.
import 'reflect-metadata';
import { LockModule, LockService } from '@lockstep/lock';
import { zookeeperLockStore } from '@lockstep/lock/zookeeper';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const { ZOOKEEPER: connect, ROOT: root, SESSION_MS, KEY } = process.env;

class AppModule {}
Module({
  imports: [LockModule.forRoot({ store: zookeeperLockStore({ connect, root, sessionTimeout: Number(SESSION_MS) }) })],
})(AppModule);

const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
app.enableShutdownHooks();
const lease = await app.get(LockService).acquire(KEY, { wait: '20s' });
process.on('message', () => process.send({ held: lease.isHeld(), aborted: lease.signal.aborted }));
process.send({ fence: lease.fence.toString() });
