import { startPostgres, startRedis } from '@lockstep/testing';
import { ourPublisher, rawPublisher } from './dist/messaging/publishers.js';
const which = process.argv[2]; const ms = Number(process.argv[3] ?? 4000);
const [postgres, redis] = await Promise.all([startPostgres({ fsync: false }), startRedis()]);
const servers = { databaseUrl: await postgres.createDatabase('b'), redisUrl: redis.url };
const names = which === 'both' ? ['raw','ours','raw','ours'] : [which];
const benches = {};
for (const n of new Set(names)) benches[n] = await (n === 'ours' ? ourPublisher(servers) : rawPublisher(servers)).open();
for (const n of names) {
  await benches[n].run(1500);
  const c = process.cpuUsage(); const s = await benches[n].run(ms); const d = process.cpuUsage(c);
  console.log(n, 'ops/s', Math.round(s.operations / s.elapsedMs * 1000), 'node cpu us/op', Math.round((d.user + d.system) / s.operations));
}
for (const n of Object.keys(benches)) await benches[n].close();
await postgres.stop(); await redis.stop();
