import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { ConfigurationError } from '@lockstep/core';

const FRAME = new URL('../lua/batch.lua', import.meta.url);
const PLAIN_TEXT = /^[\w.:{}-]*$/;
const SIGNATURE = /^local function one\(([^)]*)\)/m;

export interface ScriptShape {
  readonly name: string;
  readonly source: URL;
  readonly library?: readonly URL[];
  readonly constants?: Readonly<Record<string, string | number | boolean>>;
  readonly keyCount: number;
  readonly argCount: number;
  readonly sharedCount?: number;
  readonly clock?: 'lazy';
}

/** The Lua text that is sent, and the name under which a server remembers it. */
export interface ScriptSource {
  readonly text: string;
  readonly sha: string;
}

/**
 * Puts the per-item function of a `.lua` file into the frame that calls it for every item.
 *
 * @throws ConfigurationError when the function does not take what the definition says
 */
export function loadScript(shape: ScriptShape): ScriptSource {
  const { name, keyCount, argCount, sharedCount = 0, clock } = shape;
  const item = readFileSync(shape.source, 'utf8');
  const taken = SIGNATURE.exec(item)?.[1]?.split(',').length;
  if (keyCount < 1 || taken !== keyCount + argCount + sharedCount) {
    throw new ConfigurationError(
      `Redis script ${name} is declared with ${keyCount} keys and ${argCount + sharedCount} arguments, ` +
        `but its function one() takes ${taken ?? 'nothing'}.`,
    );
  }
  const keys = Array.from({ length: keyCount }, (_, index) => `KEYS[k + ${index + 1}]`);
  const args = Array.from({ length: argCount }, (_, index) => `ARGV[a + ${index + 1}]`);
  const shared = Array.from({ length: sharedCount }, (_, index) => `ARGV[${index + 1}]`);
  const text = readFileSync(FRAME, 'utf8')
    .replaceAll('KEYS_PER_ITEM', String(keyCount))
    .replace('ARGS_PER_ITEM', String(argCount))
    .replaceAll('ITEM_ARGUMENTS', [...keys, ...args, ...shared].join(', '))
    .replace('SHARED_ARGS', String(sharedCount))
    .replace('IS_LAZY', String(clock === 'lazy'))
    .replace('--<item>', () => luaLocals(shape) + luaLibrary(shape) + item);
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}

/** JSON and Lua write these values alike, as long as strings hold no characters that need escaping. */
function luaLocals({ name, constants = {} }: ScriptShape): string {
  const lines = Object.entries(constants).map(([local, value]) => {
    if (typeof value === 'string' && !PLAIN_TEXT.test(value)) {
      throw new ConfigurationError(`Redis script ${name}: the constant ${local} must be plain text.`);
    }
    return `local ${local} = ${JSON.stringify(value)}\n`;
  });
  return lines.join('');
}

/** Made when it is first asked for: an item that needs nothing of it does not pay for its functions. */
function luaLibrary({ library = [] }: ScriptShape): string {
  if (library.length === 0) return '';
  const text = library.map((file) => readFileSync(file, 'utf8')).join('\n');
  return `local loaded
local function library()
  if not loaded then
    loaded = (function()
${text}
    end)()
  end
  return loaded
end
`;
}
