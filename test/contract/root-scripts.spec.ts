import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { chaosOptions } from '../crash/chaos-options.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

interface TestCount {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}
interface VitestScript {
  readonly countReport: (report: object) => TestCount;
  readonly unmatchedFilter: (args: readonly string[]) => string | undefined;
}
interface ReadmeScript {
  readonly codeBlocks: (markdown: string) => Iterable<readonly [code: string, line: number]>;
}

const script = async <T>(name: string): Promise<T> => (await import(`${root}scripts/lib/${name}.mjs`)) as T;

describe('the last line of npm test', () => {
  test('counts a spec file that could not be loaded as one failed', async () => {
    const { countReport } = await script<VitestScript>('vitest');
    const report = {
      numPassedTests: 3,
      numFailedTests: 1,
      numPendingTests: 2,
      numTodoTests: 1,
      testResults: [
        { status: 'passed', assertionResults: [{ status: 'passed' }] },
        { status: 'failed', assertionResults: [{ status: 'failed' }, { status: 'passed' }] },
        { status: 'failed', assertionResults: [] },
      ],
    };
    expect(countReport(report)).toEqual({ passed: 3, failed: 2, skipped: 3 });
  });
});

describe('the README check', () => {
  test('finds the blocks marked ts and the lines on which they begin', async () => {
    const { codeBlocks } = await script<ReadmeScript>('readme-code');
    const markdown = '# A\n\n```ts\nconst a = 1;\n```\n\n```bash\nnpm test\n```\n\n```ts\nconst b = 2;\nb;\n```\n';
    expect([...codeBlocks(markdown)]).toEqual([
      ['const a = 1;\n', 4],
      ['const b = 2;\nb;\n', 12],
    ]);
  });
});

describe.each(['chaos', 'bench'])('npm run %s', (command) => {
  test('lists the areas and fails when the area is unknown', () => {
    const { status, stderr } = spawnSync('node', [`scripts/${command}.mjs`, 'no-such-area'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(stderr).toMatch(/Unknown area: no-such-area\..*\nAreas: /);
    expect(status).toBe(2);
  });
});

describe('npm run', () => {
  test.each([
    ['chaos', ['order', '--nope'], "Unknown option '--nope'."],
    ['chaos', ['order', '--seeds', 'abc'], "--seeds takes a whole number from 1, not 'abc'."],
    ['chaos', ['order', '--seeds=0'], "--seeds takes a whole number from 1, not '0'."],
    ['chaos', ['order', '--seeds'], "Option '--seeds <value>' argument missing."],
    ['bench', ['lock', '--nope'], "Unknown option '--nope'."],
    ['demo', ['--turo'], "Unknown option '--turo'."],
  ])('%s %j ends with the usage and exit code 2 before anything is built', (command, args, problem) => {
    const { status, stdout, stderr } = spawnSync('node', [`scripts/${command}.mjs`, ...args], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(stderr.trim()).toMatch(/^[^\n]* Usage: npm run [^\n]*$/);
    expect(stderr).toContain(problem);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  });

  test('chaos takes a number with an equals sign', async () => {
    expect(chaosOptions(['--seeds=3', '--seed=7'], 5)).toEqual({ seeds: 3, seed: 7, json: false });
  });

  test('test says when no spec has a path like that', async () => {
    const { unmatchedFilter } = await script<VitestScript>('vitest');
    expect(unmatchedFilter(['nosuchspec'])).toBe('nosuchspec');
    expect(unmatchedFilter(['nosuchspec', 'root-scripts'])).toBeUndefined();
    expect(unmatchedFilter(['-t', 'nosuchspec'])).toBeUndefined();
  });
});

describe('the demo, before it starts anything,', () => {
  /** Ends it after ten seconds: nothing of this takes as long as the tour. */
  const demo = async (args: readonly string[], env: Record<string, string>) => {
    const child = spawn('node', ['sample-app/dist/main.js', ...args], {
      cwd: root,
      env: { ...process.env, DATABASE_URL: '', REDIS_URL: '', ...env },
      timeout: 10_000,
    });
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    return { code: child.exitCode, stdout, stderr };
  };

  test('names another port when the one that it is to serve on is taken', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const { code, stdout, stderr } = await demo([], { PORT: String(port) });
    taken.close();
    expect(stderr).toMatch(new RegExp(`^Port ${port} is in use; try PORT=\\d+ npm run demo\n$`));
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  });

  test('refuses a PORT that is none in one line', async () => {
    const { code, stderr } = await demo([], { PORT: 'abc' });
    expect(stderr).toBe("Option 'PORT' is 'abc'; expected a port number.\n");
    expect(code).toBe(1);
  });

  test.each([
    ['DATABASE_URL', 'postgres://ann:top-secret@127.0.0.1:1/mall', /No answer from Postgres at 127\.0\.0\.1:1 /],
    ['REDIS_URL', 'redis://:top-secret@127.0.0.1:1', /No answer from Redis at 127\.0\.0\.1:1 /],
  ])('says in one line that nobody answers %s, without its password', async (variable, url, problem) => {
    const { code, stdout, stderr } = await demo(['--tour'], { [variable]: url });
    expect(stderr).toMatch(problem);
    expect(stderr).toMatch(/ECONNREFUSED\. [^\n]*\n$/);
    expect(stderr).not.toContain('top-secret');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  });

  test.each([
    ['DATABASE_URL', 'postgres'],
    ['REDIS_URL', 'redis'],
  ])('does not wait for a server of %s that takes the connection and says nothing', async (variable, scheme) => {
    const silent = createServer((socket) => socket.on('error', () => socket.destroy())).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const { code, stderr } = await demo(['--tour'], { [variable]: `${scheme}://127.0.0.1:${port}` });
    silent.close();
    expect(stderr).toMatch(/^No answer from [^\n]*\n$/);
    expect(code).toBe(1);
  });
});
