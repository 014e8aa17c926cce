import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('.', import.meta.url));
const packages = readdirSync(`${root}packages`).filter((name) => existsSync(`${root}packages/${name}/test`));

const project = (name: string, folder: string, include: string[]) => ({
  extends: true as const,
  root: `${root}${folder}`,
  test: { name, include },
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
    maxWorkers: 3,
    testTimeout: 20_000,
    hookTimeout: 30_000,
  },
});
