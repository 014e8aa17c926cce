import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { PrismaTransactionLike } from '@lockstep/sql/prisma';

const require = createRequire(import.meta.url);
const SCHEMA = `
generator client {
  provider = "prisma-client-js"
  output   = "./client"
}
datasource db {
  provider = "postgresql"
}
model Entry {
  name String @id
  @@map("entry")
}
`;

export interface PrismaClientLike extends PrismaTransactionLike {
  $transaction<T>(work: (tx: PrismaTransactionLike) => Promise<T>): Promise<T>;
  $disconnect(): Promise<void>;
}

export interface GeneratedPrisma {
  readonly PrismaClient: new (options: { readonly adapter: unknown }) => PrismaClientLike;
  remove(): Promise<void>;
}

/** A client made by `prisma generate` in a folder of its own, without any download. */
export async function generatePrisma(): Promise<GeneratedPrisma> {
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-prisma-'));
  const client = await realpath(dirname(require.resolve('@prisma/client/package.json')));
  await mkdir(join(folder, 'node_modules/@prisma'), { recursive: true });
  for (const name of ['client', 'client-runtime-utils']) {
    await symlink(join(dirname(client), name), join(folder, 'node_modules/@prisma', name));
  }
  await writeFile(join(folder, 'schema.prisma'), SCHEMA);
  await writeFile(join(folder, 'prisma.config.mjs'), "export default { schema: './schema.prisma' };\n");
  const cli = join(dirname(require.resolve('prisma/package.json')), 'build/index.js');
  await promisify(execFile)(process.execPath, [cli, 'generate', '--config', './prisma.config.mjs'], {
    cwd: folder,
    // The engine that migrates would be downloaded if it were not named; generating a client has no use for it.
    env: { ...process.env, CHECKPOINT_DISABLE: '1', PRISMA_SCHEMA_ENGINE_BINARY: process.execPath },
  });
  const { PrismaClient } = require(join(folder, 'client')) as Pick<GeneratedPrisma, 'PrismaClient'>;
  return { PrismaClient, remove: () => rm(folder, { recursive: true, force: true }) };
}
