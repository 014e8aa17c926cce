import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const packages = fileURLToPath(new URL('../../', import.meta.url));
const scripts = readdirSync(packages, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.lua') && path.includes('/src/') && !path.includes('node_modules'))
  .map((path) => ({ path, text: readFileSync(packages + path, 'utf8') }));

describe('every Lua script of the house', () => {
  it('is found here', () => {
    expect(scripts.length).toBeGreaterThanOrEqual(4);
  });

  it.each(scripts)('$path states purpose, keys, arguments and results', ({ text }) => {
    const isLibrary = !/^local function one\(/m.test(text) && !text.includes('--<item>');
    const parts = isLibrary ? ['-- Purpose: '] : ['-- Purpose: ', '-- KEYS: ', '-- ARGV: ', '-- Returns: '];
    for (const part of parts) expect(text).toContain(part);
  });

  it.each(scripts)('$path never turns a large number into text by concatenation alone', ({ text }) => {
    expect(text).not.toMatch(/\.\.\s*now_[um]s|now_[um]s\s*\.\./);
  });
});
