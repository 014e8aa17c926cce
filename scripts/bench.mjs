// `npm run bench -- AREA [--rounds N] [--json]`: ours, its peers and the raw limit, interleaved in one run.
import { runArea } from './lib/areas.mjs';

process.exitCode = await runArea({
  kind: 'bench',
  folder: 'test/bench/src/areas',
  built: 'test/bench/dist/areas',
  scope: 'bench',
  filter: '@lockstep/bench...',
  usage: 'npm run bench -- AREA [--rounds N] [--json]',
});
