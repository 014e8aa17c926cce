// Code in a README is read more than any other: each block marked `ts` must compile against the built packages.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from './pnpm.mjs';
import { tool } from './process.mjs';

// Below `test`, so that `@lockstep/*` and Nest resolve as they do for a test.
const folder = join(root, 'test', '.cache', 'readme');

/** A block that begins with its file's name can be imported by the others of its README. */
const NAMED = /^\/\/ ([a-z.-]+\.ts)\n/;

/** Compiles the `ts` blocks of the READMEs that exist, each as a module of its own; answers with tsc's exit code. */
export function checkReadmeCode(readmes) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  let blocks = 0;
  for (const readme of readmes.filter((file) => existsSync(join(root, file)))) {
    for (const [code, line] of codeBlocks(readFileSync(join(root, readme), 'utf8'))) {
      const name = NAMED.exec(code)?.[1] ?? `${readme.replaceAll(/[./]/g, '-')}-line-${line}.ts`;
      const place = join(folder, dirname(readme));
      mkdirSync(place, { recursive: true });
      writeFileSync(join(place, name), `${code}\nexport {};\n`);
      blocks += 1;
    }
  }
  console.log(`${blocks} code blocks`);
  if (blocks === 0) return 0;
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig, null, 2));
  return tool('tsc', '-p', folder);
}

const tsconfig = {
  extends: '../../../tsconfig.test.json',
  compilerOptions: { noUnusedLocals: false, noUnusedParameters: false },
  include: ['**/*.ts'],
  exclude: [],
};

/** Yields the text of each ```ts block and the line on which it begins. */
export function* codeBlocks(markdown) {
  for (const match of markdown.matchAll(/^```ts\n(.*?)^```$/gms)) {
    yield [match[1], markdown.slice(0, match.index).split('\n').length + 1];
  }
}
