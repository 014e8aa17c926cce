// `npm run chaos -- AREA [--seeds N] [--seed S] [--json]`: the crash matrix of one area, longer than in `npm test`.
import { runArea } from './lib/areas.mjs';

process.exitCode = await runArea({
  kind: 'chaos',
  folder: 'test/crash',
  built: 'test/dist/crash',
  scope: 'test',
  filter: '@lockstep/test...',
  usage: 'npm run chaos -- AREA [--seeds N] [--seed S] [--json]',
  flags: {
    seeds: { type: 'string', min: 1 },
    seed: { type: 'string', min: 0 },
    json: { type: 'boolean' },
  },
});
