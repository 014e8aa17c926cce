// The checks that need built packages but no server: format, lint, types, dependency direction, README code.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { checkDependencies } from './dependency-check.mjs';
import { root } from './pnpm.mjs';
import { tool } from './process.mjs';
import { checkReadmeCode } from './readme-code.mjs';

export const checks = [
  ['format and lint (biome)', () => tool('biome', 'ci', '--colors=off', '.')],
  ['type-aware lint (oxlint)', () => tool('oxlint', '--type-aware', '--deny-warnings')],
  ['types of the tests (tsc)', () => tool('tsc', '-p', 'tsconfig.test.json')],
  ['dependency direction', () => printed(checkDependencies(root))],
  ['README code', () => checkReadmeCode(readmes())],
];

function readmes() {
  const folders = ['.', 'sample-app', ...readdirSync(join(root, 'packages')).map((name) => `packages/${name}`)];
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(folder, name)),
  );
}

function printed(violations) {
  for (const violation of violations) console.error(violation);
  return violations.length === 0 ? 0 : 1;
}
