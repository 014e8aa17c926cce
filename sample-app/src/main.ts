import { ConfigurationError } from '@lockstep/core';
import { ServerNotAvailableError } from '@lockstep/testing';
import { BankStandIn } from './bank/bank-stand-in.js';
import { PartnerStandIn } from './partners/partner-stand-in.js';
import { portFrom } from './platform/mall.config.js';
import { assertPortIsFree, assertServersAnswer, PreflightError } from './platform/preflight.js';
import { findServers } from './platform/servers.js';
import { Stage } from './tour/stage.js';
import { playTour } from './tour/tour.js';

/** `node main.js [--tour]`: finds or starts servers, opens the mall, plays the tour, and then serves or ends. */
const tourOnly = process.argv.includes('--tour');
try {
  await main();
} catch (error) {
  if (!isForItsUser(error)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const port = tourOnly ? undefined : portFrom(process.env);
  if (port !== undefined) await assertPortIsFree(port);
  await assertServersAnswer(process.env);
  const servers = await findServers(process.env);
  for (const note of servers.notes) console.log(note);

  const bank = await BankStandIn.open();
  const partner = await PartnerStandIn.open();
  const stage = new Stage(servers, bank, partner);
  try {
    await stage.open();
    const broken = await playTour(stage);
    console.log(broken === 0 ? '\nTour: every promise was kept.' : `\nTour: ${broken} promises were broken.`);
    process.exitCode = broken === 0 ? 0 : 1;
    if (broken > 0) console.log(stage.lastLines.join('\n'));
    if (port !== undefined) await serve(stage, port);
  } catch (error) {
    console.error(stage.lastLines.join('\n'));
    throw error;
  } finally {
    await stage.close();
    await bank.close();
    await partner.close();
    await servers.stop();
  }
}

async function serve(stage: Stage, port: number): Promise<void> {
  await stage.close();
  await stage.open({ port });
  console.log(`\nThe mall is open at ${stage.baseUrl}; Ctrl+C closes it.`);
  console.log(`  curl ${stage.baseUrl}/products`);
  console.log(`  one login for two hosts: http://www.mall.localhost:${port} and http://order.mall.localhost:${port}`);
  console.log(`  the warehouse restocks with: Authorization: Bearer ${stage.tokens.warehouse}`);
  console.log(`  the next charge of the bank is answered too late after: curl -X PUT ${stage.bank.url}/faults/late`);
  console.log(`  the operators settle with: Authorization: Bearer ${stage.tokens.operator}`);
  // Not once(): a terminal's Ctrl+C arrives twice, from it and from npm, and the second must not cut the closing short.
  await new Promise<void>((resolve) => {
    process.on('SIGINT', resolve);
    process.on('SIGTERM', resolve);
  });
  console.log('closing …');
}

/** Errors whose message says all that is to be done; a stack would only hide it. */
function isForItsUser(error: unknown): error is Error {
  return [PreflightError, ConfigurationError, ServerNotAvailableError].some((kind) => error instanceof kind);
}
