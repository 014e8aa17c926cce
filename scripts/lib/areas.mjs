// `chaos` and `bench` take an area: a program `<area>.<kind>.ts`, compiled by the build.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { flagProblem } from './flags.mjs';
import { build, ensureInstalled, root } from './pnpm.mjs';
import { program } from './process.mjs';

/** Builds and runs the program of the area that the command line names; a wrong area or flag ends with the usage. */
export async function runArea({ kind, folder, built, scope, filter, usage, flags }) {
  const [area, ...rest] = process.argv.slice(2);
  const areas = areasIn(folder, kind);
  if (area === undefined || !areas.includes(area)) {
    const problem = area === undefined ? 'No area given.' : `Unknown area: ${area}.`;
    console.error(`${problem} Usage: ${usage}\nAreas: ${areas.join(', ') || 'none yet'}`);
    return 2;
  }
  const problem = flagProblem(rest, flags);
  if (problem !== undefined) {
    console.error(`${problem} Usage: ${usage}`);
    return 2;
  }
  ensureInstalled(scope);
  const status = build(filter);
  return status === 0 ? program(join(built, `${area}.${kind}.js`), rest) : status;
}

function areasIn(folder, kind) {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  const suffix = `.${kind}.ts`;
  return readdirSync(path)
    .filter((name) => name.endsWith(suffix))
    .map((name) => name.slice(0, -suffix.length));
}
