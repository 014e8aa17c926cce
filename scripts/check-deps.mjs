// `node scripts/check-deps.mjs [ROOT]`: fails when a package imports one that it must not know.
import { checkDependencies } from './lib/dependency-check.mjs';
import { root } from './lib/pnpm.mjs';

const violations = checkDependencies(process.argv[2] ?? root);
for (const violation of violations) console.error(violation);
console.log(violations.length === 0 ? 'dependency direction: ok' : `${violations.length} forbidden imports`);
process.exitCode = violations.length === 0 ? 0 : 1;
