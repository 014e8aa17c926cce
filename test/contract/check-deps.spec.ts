import { spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const copies: string[] = [];

afterEach(() => {
  for (const copy of copies.splice(0)) rmSync(copy, { recursive: true });
});

/** The sources and manifests of this repository in a folder that a test may spoil. */
function copyOfRepository(): string {
  const copy = mkdtempSync(join(tmpdir(), 'lockstep-deps-'));
  copies.push(copy);
  const kept = (path: string) => !/\/(node_modules|dist|test|\.turbo)$/.test(path);
  for (const folder of ['packages', 'sample-app']) {
    cpSync(join(root, folder), join(copy, folder), { recursive: true, filter: kept });
  }
  return copy;
}

function check(folder: string): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('node', [join(root, 'scripts/check-deps.mjs'), folder], {
    encoding: 'utf8',
  });
  return { status, output: stdout + stderr };
}

function plant(file: string, code: string): { status: number | null; output: string } {
  const copy = copyOfRepository();
  const path = join(copy, file);
  mkdirSync(join(path, '..'), { recursive: true });
  appendFileSync(path, `\n${code}\n`);
  return check(copy);
}

describe('the dependency-direction check', () => {
  test('passes on the repository as it is', () => {
    expect(check(root)).toEqual({ status: 0, output: 'dependency direction: ok\n' });
  });

  test.each([
    [
      'an upward import',
      'packages/core/src/index.ts',
      "import '@lockstep/lock';",
      'core may not import @lockstep/lock',
    ],
    [
      'a capability that imports another',
      'packages/lock/src/x.ts',
      "export { a } from '@lockstep/outbox';",
      'lock may not',
    ],
    ['a house package in testing', 'packages/testing/src/x.ts', "import '@lockstep/core';", 'testing may not import'],
    ['redis outside its driver', 'packages/lock/src/x.ts', "import '@lockstep/redis';", 'only in src/drivers/redis'],
    ['sql outside the drivers of lock', 'packages/lock/src/x.ts', "import '@lockstep/sql';", 'only in src/drivers'],
    ['bullmq outside its package', 'packages/outbox/src/x.ts', "import type { Job } from 'bullmq';", 'only bullmq may'],
    [
      'NATS outside its package',
      'packages/outbox/src/x.ts',
      "import type { Msg } from '@nats-io/transport-node';",
      'only nats may',
    ],
    [
      'a capability other than the outbox in nats',
      'packages/nats/src/x.ts',
      "import '@lockstep/lock';",
      'nats may not import @lockstep/lock',
    ],
    ['a deep import', 'packages/lock/src/x.ts', "import '@lockstep/core/dist/time.js';", 'is not an export'],
    [
      'a path into another package',
      'packages/lock/src/x.ts',
      "import '../../core/src/time.js';",
      "leaves the package's",
    ],
    ['a static import of a client', 'packages/sql/src/x.ts', "import pg from 'pg';", 'pg is an optional client'],
    ['a type-only upward import', 'packages/core/src/x.ts', "type A = import('@lockstep/sql').Sql;", 'core may not'],
    ['a lazy upward import', 'packages/core/src/x.ts', "await import('@lockstep/sql');", 'core may not import'],
    ['an undeclared package', 'packages/core/src/x.ts', "import 'left-pad';", 'left-pad is not declared'],
  ])('fails on %s', (_what, file, code, problem) => {
    const { status, output } = plant(file, code);
    expect(output).toContain(problem);
    expect(output).toContain('1 forbidden imports');
    expect(status).toBe(1);
  });

  test('allows a redis driver to import redis and a lazy import of a client', () => {
    expect(plant('packages/lock/src/drivers/redis/x.ts', "import '@lockstep/redis';").status).toBe(0);
    expect(plant('packages/redis/src/x.ts', "export const load = () => import('ioredis');").status).toBe(0);
  });

  test('does not take a comment or a string for an import', () => {
    const code = `// import '@lockstep/lock'\nexport const text = "import '@lockstep/lock'";`;
    expect(plant('packages/core/src/x.ts', code).status).toBe(0);
  });

  test('fails on a forbidden dependency in package.json that no file imports yet', () => {
    const copy = copyOfRepository();
    const file = join(copy, 'packages/core/package.json');
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as { dependencies: Record<string, string> };
    manifest.dependencies['@lockstep/redis'] = 'workspace:^';
    writeFileSync(file, JSON.stringify(manifest));
    expect(check(copy)).toEqual({
      status: 1,
      output: expect.stringContaining('core may not depend on @lockstep/redis'),
    });
  });
});
