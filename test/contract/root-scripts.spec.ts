import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));

interface TestCount {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}
interface VitestScript {
  readonly countReport: (report: object) => TestCount;
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
