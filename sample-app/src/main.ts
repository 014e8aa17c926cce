import { findServers } from './platform/servers.js';
import { Stage } from './tour/stage.js';
import { playTour } from './tour/tour.js';

/** `node main.js [--tour]`: finds or starts servers, opens the mall, plays the tour, and then serves or ends. */
const tourOnly = process.argv.includes('--tour');
const servers = await findServers(process.env);
for (const note of servers.notes) console.log(note);

const stage = new Stage(servers);
try {
  await stage.open();
  const broken = await playTour(stage);
  console.log(broken === 0 ? '\nTour: every promise was kept.' : `\nTour: ${broken} promises were broken.`);
  process.exitCode = broken === 0 ? 0 : 1;
  if (broken > 0) console.log(stage.lastLines.join('\n'));
  if (!tourOnly) await serve();
} catch (error) {
  console.error(stage.lastLines.join('\n'));
  throw error;
} finally {
  await stage.close();
  await servers.stop();
}

async function serve(): Promise<void> {
  await stage.close();
  await stage.open({ port: Number(process.env.PORT ?? 3000) });
  console.log(`\nThe mall is open at ${stage.baseUrl}; Ctrl+C closes it.`);
  console.log(`  curl ${stage.baseUrl}/products`);
  console.log(`  the warehouse restocks with: Authorization: Bearer ${stage.warehouseToken}`);
  await new Promise<void>((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
  });
}
