import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cookieValues } from '../dist/http/cookie-values.js';

const RUNS = { numRuns: 3_000 };
const BLANKS = /^[ \t]+|[ \t]+$/g;

/** What RFC 6265 says, in the plainest way. */
function naive(header: string, name: string): string[] {
  return header
    .split(';')
    .map((pair) => pair.replace(/^[ \t]+/, ''))
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1).replace(BLANKS, ''))
    .map((value) => (/^".*"$/.test(value) && value.length > 1 ? value.slice(1, -1) : value))
    .slice(0, 3);
}

const name = fc.constantFrom('sid', '__Host-sid', 'a', 's');
const piece = fc.constantFrom(
  'sid',
  '__Host-',
  'a',
  's',
  '=',
  '==',
  ';',
  '; ',
  ' ',
  '\t',
  '"',
  '%',
  '%3B',
  '.',
  ',',
  'x',
  '\\',
  '$',
);
const header = fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join(''));

describe('the values of a Cookie header', () => {
  it('are those that a naive parser finds, in whatever header', () => {
    fc.assert(
      fc.property(header, name, (text, wanted) => {
        expect(cookieValues(text, wanted)).toEqual(naive(text, wanted));
      }),
      RUNS,
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary-ascii', maxLength: 200 }), name, (text, wanted) => {
        const line = text.replace(/[\r\n\f\v]/g, '');
        expect(cookieValues(line, wanted)).toEqual(naive(line, wanted));
      }),
      RUNS,
    );
  });

  it('take time in proportion to the header, however hostile it is', () => {
    const hostile = ['sid=', ' '.repeat(50), ';', 'xsid=', '"', '; sid'].map((part) =>
      part.repeat(100_000 / part.length),
    );
    for (const text of hostile) expect(cookieValues(text, 'sid').length).toBeLessThanOrEqual(3);
  });
});
