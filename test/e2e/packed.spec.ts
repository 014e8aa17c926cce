import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  filesOf,
  manifestOf,
  type NestVersions,
  PackedProject,
  packAll,
  root,
  type Tarballs,
} from './packed/packed-project.js';

const INSTALL_TIMEOUT_MS = 180_000;
const SMOKE = fileURLToPath(new URL('./packed/smoke.ts', import.meta.url));
const packages = readdirSync(join(root, 'packages'));

const nest11: NestVersions = {
  common: '11.2.10',
  core: '11.2.10',
  'platform-express': '11.2.10',
  'platform-fastify': '11.2.8',
};
const nest12: NestVersions = {
  common: '12.5.1',
  core: '12.5.1',
  'platform-express': '12.5.1',
  'platform-fastify': '12.5.0',
};

const folder = mkdtempSync(join(tmpdir(), 'lockstep-tarballs-'));
let tarballs: Tarballs = {};

beforeAll(async () => {
  tarballs = await packAll(folder);
}, INSTALL_TIMEOUT_MS);
afterAll(() => rmSync(folder, { recursive: true }));

const tarballOf = (name: string): string => {
  const tarball = tarballs[`@lockstep/${name}`];
  if (tarball === undefined) throw new Error(`${name} was not packed`);
  return tarball;
};

describe.each(packages)('the tarball of %s', (name) => {
  test('holds every Lua script and SQL migration beside the code that reads it', async () => {
    const files = await filesOf(tarballOf(name));
    const sources = readdirSync(join(root, 'packages', name, 'src'), { recursive: true, encoding: 'utf8' });
    const assets = sources.filter((file) => /\.(lua|sql)$/.test(file)).map((file) => `dist/${file}`);
    expect(files).toEqual(expect.arrayContaining(assets));
  });

  test('holds every file that its exports name, and no build state', async () => {
    const files = await filesOf(tarballOf(name));
    const manifest = JSON.parse(await manifestOf(tarballOf(name))) as { exports: Record<string, string | object> };
    const exported = Object.values(manifest.exports).flatMap((entry) =>
      typeof entry === 'string' ? [entry] : Object.values(entry as Record<string, string>),
    );
    expect(files).toEqual(expect.arrayContaining(exported.map((file) => file.replace(/^\.\//, ''))));
    expect(files.filter((file) => file.endsWith('.tsbuildinfo'))).toEqual([]);
  });

  test('names versions, not places in the workspace', async () => {
    expect(await manifestOf(tarballOf(name))).not.toMatch(/"(workspace|catalog):/);
  });
});

describe.each([
  ['Nest 11', nest11],
  ['Nest 12', nest12],
])('an application on %s that installs the packed packages', (_name, nest) => {
  let project: PackedProject;
  beforeAll(async () => {
    project = await PackedProject.install(tarballs, nest);
  }, INSTALL_TIMEOUT_MS);
  afterAll(() => rmSync(project.path, { recursive: true, force: true }));

  test.each([
    ['an ES module', 'module'],
    ['CommonJS', 'commonjs'],
  ] as const)('gets its guarantees on Express and on Fastify from %s', async (_format, format) => {
    expect(await project.compileAndRun(SMOKE, format)).toBe('express ok\nfastify ok\n');
  });
});
