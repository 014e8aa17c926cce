import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('.', import.meta.url));
const packages = readdirSync(`${root}packages`).filter((name) => existsSync(`${root}packages/${name}/test`));

/** Their specs mostly wait for a server or a timer; those of the others start many processes of their own. */
const waiting = new Set(['core', 'idempotency', 'lock', 'redis', 'session', 'sql', 'testing']);

const project = (name: string, folder: string, include: string[]) => ({
  extends: true as const,
  root: `${root}${folder}`,
  test: {
    name,
    include,
    maxWorkers: waiting.has(name) ? 3 : 2,
    sequence: { groupOrder: waiting.has(name) ? 0 : 1 },
  },
});

export default defineConfig({
  // Vite would honour tsconfig's decorators only for files that the tsconfig includes, and specs are not among them.
  oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
  test: {
    projects: [
      ...packages.map((name) => project(name, `packages/${name}`, ['test/**/*.spec.ts'])),
      project('test', 'test', ['**/*.spec.ts']),
    ],
    // Importing Nest anew for each file would be most of the run. The price: no global state in specs.
    isolate: false,
    // What ships is what is tested, loaded by Node itself: one copy of every class, and child processes get the same.
    server: { deps: { external: [/\/packages\/[^/]+\/dist\//] } },
    globalSetup: [`${root}packages/testing/dist/vitest/global-setup.js`],
    testTimeout: 20_000,
    hookTimeout: 30_000,
  },
});
