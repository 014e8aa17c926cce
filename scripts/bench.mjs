// `npm run bench -- AREA [--rounds N] [--slice MS] [--only ROW] [--json]`: ours, its peers and the raw limit, interleaved in one run.
import { runArea } from './lib/areas.mjs';

process.exitCode = await runArea({
  kind: 'bench',
  folder: 'test/bench/src/areas',
  built: 'test/bench/dist/areas',
  scope: 'bench',
  filter: '@lockstep/bench...',
  usage: 'npm run bench -- AREA [--rounds N] [--slice MS] [--only ROW] [--json]',
  flags: {
    rounds: { type: 'string', min: 1 },
    slice: { type: 'string', min: 1 },
    only: { type: 'string' },
    json: { type: 'boolean' },
  },
});
