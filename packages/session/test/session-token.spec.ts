import { Keyring } from '@lockstep/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SessionTokens } from '../dist/session-token.js';
import { SECRET } from './support/http-app.js';

const CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.';
const tokens = new SessionTokens(new Keyring({ current: 'a', keys: { a: SECRET } }));

describe('a token', () => {
  it('is not recognised with any of its bits flipped, nor with any character replaced by any other', () => {
    const { token } = tokens.issue();
    const changed = Array.from(token).flatMap((character, at) => {
      const code = character.charCodeAt(0);
      const flipped = Array.from({ length: 16 }, (_, bit) => String.fromCharCode(code ^ (1 << bit)));
      const others = [...flipped, ...CHARACTERS.split(''), '', character + character].filter(
        (other) => other !== character,
      );
      return others.map((other) => token.slice(0, at) + other + token.slice(at + 1));
    });
    expect(changed.filter((text) => tokens.recognise(text))).toEqual([]);
    expect(tokens.recognise(token)?.token).toBe(token);
  });

  it('is not recognised in parts of two, which are each signed', () => {
    const group = 'group';
    const [a, b] = [tokens.issue(group).token, tokens.issue(group).token];
    const [partsOfA, partsOfB] = [a.split('.'), b.split('.')];
    for (let mixed = 1; mixed < 2 ** partsOfA.length - 1; mixed += 1) {
      const parts = partsOfA.map((part, at) => (mixed & (1 << at) ? partsOfB[at] : part));
      const token = parts.join('.');
      if (token !== a && token !== b) expect(tokens.recognise(token)).toBeUndefined();
    }
  });

  it('is recognised wherever it was issued, and text that was not never is', () => {
    const ofToken = (length: number): fc.Arbitrary<string> =>
      fc.string({ unit: fc.constantFrom(...CHARACTERS.slice(0, 64).split('')), minLength: length, maxLength: length });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }).chain(ofToken), (group) => {
        const { token, key } = tokens.issue(group);
        expect(tokens.recognise(token)).toEqual({ token, key });
        expect(key.group).toBe(group);
      }),
    );
    const forged = fc
      .tuple(ofToken(43), ofToken(8), ofToken(43))
      .map(([id, group, mac]) => `s1.${id}.${group}.a.${mac}`);
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), forged), (token) => tokens.recognise(token) === undefined),
      { numRuns: 1_000 },
    );
  });

  it('does not tell its secret to the store: the key is made of a hash', () => {
    const { token, key } = tokens.issue();
    expect(key.id).toMatch(/^[\w-]{43}$/);
    expect(token).not.toContain(key.id);
  });
});
