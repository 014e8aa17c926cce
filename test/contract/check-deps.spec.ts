import { spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';

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

interface Violation {
  readonly what: string;
  readonly file: string;
  readonly code: string;
  readonly problem: string;
}

function plant(copy: string, file: string, code: string): void {
  const path = join(copy, file);
  mkdirSync(join(path, '..'), { recursive: true });
  appendFileSync(path, `\n${code}\n`);
}

function checkWith(file: string, code: string): { status: number | null; output: string } {
  const copy = copyOfRepository();
  plant(copy, file, code);
  return check(copy);
}

const VIOLATIONS: readonly Violation[] = [
  {
    what: 'an upward import',
    file: 'packages/core/src/index.ts',
    code: "import '@lockstep/lock';",
    problem: 'core may not import @lockstep/lock',
  },
  {
    what: 'a capability that imports another',
    file: 'packages/lock/src/x1.ts',
    code: "export { a } from '@lockstep/outbox';",
    problem: 'lock may not',
  },
  {
    what: 'a house package in testing',
    file: 'packages/testing/src/x2.ts',
    code: "import '@lockstep/core';",
    problem: 'testing may not import',
  },
  {
    what: 'redis outside its driver',
    file: 'packages/lock/src/x3.ts',
    code: "import '@lockstep/redis';",
    problem: 'only in src/drivers/redis',
  },
  {
    what: 'sql outside the drivers of lock',
    file: 'packages/lock/src/x4.ts',
    code: "import '@lockstep/sql';",
    problem: 'only in src/drivers',
  },
  {
    what: 'bullmq outside its package',
    file: 'packages/outbox/src/x5.ts',
    code: "import type { Job } from 'bullmq';",
    problem: 'only bullmq may',
  },
  {
    what: 'NATS outside its package',
    file: 'packages/outbox/src/x6.ts',
    code: "import type { Msg } from '@nats-io/transport-node';",
    problem: 'only nats may',
  },
  {
    what: 'a capability other than the outbox in nats',
    file: 'packages/nats/src/x7.ts',
    code: "import '@lockstep/lock';",
    problem: 'nats may not import @lockstep/lock',
  },
  {
    what: 'a deep import',
    file: 'packages/lock/src/x8.ts',
    code: "import '@lockstep/core/dist/time.js';",
    problem: 'is not an export',
  },
  {
    what: 'a path into another package',
    file: 'packages/lock/src/x9.ts',
    code: "import '../../core/src/time.js';",
    problem: "leaves the package's",
  },
  {
    what: 'a static import of a client',
    file: 'packages/sql/src/x10.ts',
    code: "import pg from 'pg';",
    problem: 'pg is an optional client',
  },
  {
    what: 'a type-only upward import',
    file: 'packages/core/src/x11.ts',
    code: "type A = import('@lockstep/sql').Sql;",
    problem: 'core may not',
  },
  {
    what: 'a lazy upward import',
    file: 'packages/core/src/x12.ts',
    code: "await import('@lockstep/sql');",
    problem: 'core may not import',
  },
  {
    what: 'an undeclared package',
    file: 'packages/core/src/x13.ts',
    code: "import 'left-pad';",
    problem: 'left-pad is not declared',
  },
];

describe('the dependency-direction check', () => {
  test('passes on the repository as it is', () => {
    expect(check(root)).toEqual({ status: 0, output: 'dependency direction: ok\n' });
  });

  describe('of a repository in which somebody forbade himself nothing', () => {
    let found: { status: number | null; output: string };
    beforeAll(() => {
      const copy = copyOfRepository();
      for (const { file, code } of VIOLATIONS) plant(copy, file, code);
      found = check(copy);
    });

    test.each(VIOLATIONS)('fails on $what', ({ file, problem }) => {
      const lines = found.output.split('\n').filter((line) => line.includes(file));
      expect(lines.filter((line) => line.includes(problem))).toHaveLength(1);
    });

    test('fails on nothing else', () => {
      expect(found.output).toContain(`${VIOLATIONS.length} forbidden imports`);
      expect(found.status).toBe(1);
    });
  });

  test('allows a redis driver to import redis and a lazy import of a client', () => {
    expect(checkWith('packages/lock/src/drivers/redis/x.ts', "import '@lockstep/redis';").status).toBe(0);
    expect(checkWith('packages/redis/src/x.ts', "export const load = () => import('ioredis');").status).toBe(0);
  });

  test('does not take a comment or a string for an import', () => {
    const code = `// import '@lockstep/lock'\nexport const text = "import '@lockstep/lock'";`;
    expect(checkWith('packages/core/src/x.ts', code).status).toBe(0);
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
