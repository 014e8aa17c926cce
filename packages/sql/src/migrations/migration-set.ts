import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { MigrationError } from '../sql.errors.js';

/** The tables of one package, as a folder of files `000001_name.sql`, `000002_name.sql` … that only ever grows. */
export interface MigrationSet {
  readonly name: string;
  readonly directory: URL;
}

export interface Migration {
  readonly version: number;
  readonly file: string;
  readonly statements: string;
  readonly checksum: string;
}

const FILE = /^(\d{6})_[a-z0-9_]+\.sql$/;

/** @throws MigrationError when the folder cannot be read or its numbers are not 1, 2, 3 … */
export async function readMigrations(set: MigrationSet): Promise<readonly Migration[]> {
  const files = (await listFiles(set)).filter((file) => file.endsWith('.sql')).sort();
  return Promise.all(files.map((file, index) => readMigration(set, file, index + 1)));
}

async function listFiles(set: MigrationSet): Promise<string[]> {
  try {
    return await readdir(set.directory);
  } catch (error) {
    throw new MigrationError(set.name, `the folder ${set.directory.href} cannot be read (${String(error)}).`);
  }
}

async function readMigration(set: MigrationSet, file: string, version: number): Promise<Migration> {
  if (Number(FILE.exec(file)?.[1]) !== version) {
    const expected = `${String(version).padStart(6, '0')}_name.sql`;
    throw new MigrationError(set.name, `found the file ${file} where ${expected} should be.`, file);
  }
  const folder = set.directory.href.endsWith('/') ? set.directory.href : `${set.directory.href}/`;
  // A checkout on Windows may have other line ends; the statements are the same.
  const statements = (await readFile(new URL(file, folder), 'utf8')).replaceAll('\r\n', '\n');
  return { version, file, statements, checksum: createHash('sha256').update(statements).digest('hex') };
}
