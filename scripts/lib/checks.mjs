// The checks that need built packages but no server: format, lint, types, dependency direction, README code.
import { checkDependencies } from './dependency-check.mjs';
import { root } from './pnpm.mjs';
import { tool } from './process.mjs';
import { checkReadmeCode } from './readme-code.mjs';

export const checks = [
  ['format and lint (biome)', () => tool('biome', 'ci', '--colors=off', '.')],
  ['type-aware lint (oxlint)', () => tool('oxlint', '--type-aware', '--deny-warnings')],
  ['types of the tests (tsc)', () => tool('tsc', '-p', 'tsconfig.test.json')],
  ['dependency direction', () => printed(checkDependencies(root))],
  ['README code', () => checkReadmeCode(['README.md', 'README.zh-CN.md'])],
];

function printed(violations) {
  for (const violation of violations) console.error(violation);
  return violations.length === 0 ? 0 : 1;
}
