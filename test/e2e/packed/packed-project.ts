import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
export const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Tarball of each package, by package name. */
export type Tarballs = Readonly<Record<string, string>>;

/** What an application has installed: one Nest with both of its HTTP adapters. */
export type NestVersions = Readonly<Record<'common' | 'core' | 'platform-express' | 'platform-fastify', string>>;

/** Packs every package into the folder, as for publishing. */
export async function packAll(folder: string): Promise<Tarballs> {
  await pnpm(root, '--filter', './packages/*', 'exec', 'pnpm', 'pack', '--pack-destination', folder);
  const packed = readdirSync(folder).map((file) => {
    const name = /^lockstep-(.+)-\d+\.\d+\.\d+\.tgz$/.exec(file)?.[1];
    return [`@lockstep/${name}`, join(folder, file)] as const;
  });
  return Object.fromEntries(packed);
}

/** Lists the files of a tarball, without the leading `package/`. */
export async function filesOf(tarball: string): Promise<string[]> {
  const { stdout } = await run('tar', ['-tzf', tarball]);
  return stdout
    .trim()
    .split('\n')
    .map((path) => path.replace(/^package\//, ''));
}

export async function manifestOf(tarball: string): Promise<string> {
  return (await run('tar', ['-xzOf', tarball, 'package/package.json'])).stdout;
}

/** An application outside the workspace that has nothing but the tarballs and one version of Nest. */
export class PackedProject {
  private constructor(private readonly folder: string) {}

  static async install(tarballs: Tarballs, nest: NestVersions): Promise<PackedProject> {
    const folder = mkdtempSync(join(tmpdir(), 'lockstep-packed-'));
    const local = Object.fromEntries(Object.entries(tarballs).map(([name, file]) => [name, `file:${file}`]));
    const nestDependencies = Object.entries(nest).map(([name, version]) => [`@nestjs/${name}`, version]);
    const dependencies = {
      '@lockstep/idempotency': local['@lockstep/idempotency'],
      '@lockstep/lock': local['@lockstep/lock'],
      '@lockstep/session': local['@lockstep/session'],
      ...Object.fromEntries(nestDependencies),
      'reflect-metadata': '0.2.2',
      rxjs: '7.8.2',
    };
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'shop', private: true, dependencies }));
    // The tarballs name each other by version, and that version is not on a registry.
    const workspace = { packages: ['.'], overrides: local, allowBuilds: { '@nestjs/core': false } };
    writeFileSync(join(folder, 'pnpm-workspace.yaml'), JSON.stringify(workspace));
    await pnpm(folder, 'install', '--prefer-offline', '--no-frozen-lockfile');
    return new PackedProject(folder);
  }

  /** Compiles the program as a consumer of that module format, against the declarations in the tarballs, and runs it. */
  async compileAndRun(program: string, format: 'module' | 'commonjs'): Promise<string> {
    const folder = join(this.folder, format);
    mkdirSync(folder);
    cpSync(program, join(folder, 'program.ts'));
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: format }));
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }));
    await run(join(root, 'node_modules/.bin/tsc'), ['-p', folder]).catch(withOutput);
    return (await run('node', [join(folder, 'program.js')]).catch(withOutput)).stdout;
  }

  get path(): string {
    return this.folder;
  }
}

const compilerOptions = {
  target: 'ES2022',
  module: 'NodeNext',
  moduleResolution: 'NodeNext',
  strict: true,
  experimentalDecorators: true,
  emitDecoratorMetadata: true,
  esModuleInterop: true,
  skipLibCheck: true,
  typeRoots: [join(root, 'node_modules/@types')],
  types: ['node'],
};

async function pnpm(folder: string, ...args: string[]): Promise<void> {
  const { devEngines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    devEngines: { packageManager: { version: string } };
  };
  await run('npx', ['--yes', `pnpm@${devEngines.packageManager.version}`, ...args], { cwd: folder }).catch(withOutput);
}

/** What the tool printed is the message: "exit code 1" alone tells nobody anything. */
function withOutput(error: Error & { stdout?: string; stderr?: string }): never {
  throw new Error(`${error.message}\n${error.stdout ?? ''}${error.stderr ?? ''}`, { cause: error });
}
