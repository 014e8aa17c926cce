import { expect, it } from 'vitest';
import type { ContractSubject } from './contract-subject.js';

const NAMES = [
  '__proto__',
  'constructor',
  'hasOwnProperty',
  '',
  ' ',
  '\u0000',
  'a\u0000b',
  'a',
  'a:a',
  ':',
  'h',
  'v',
  's',
  't',
  'version',
  'principal',
  'ключ 🔑',
  '\n\r\t',
  '"quoted\\"',
  "it's; drop table sessions; --",
  '%d%s',
  '{group}',
  'x'.repeat(200),
];
const TEXTS = ['', '\u0000', '1:2', '"ключ 🔑"', '\r\n$5\r\n', '{"__proto__":{"admin":true}}', '\\u0000', '%s'];

export function describeHostileValues(subject: ContractSubject): void {
  const everything = Object.fromEntries(NAMES.map((name, index) => [name, TEXTS[index % TEXTS.length] ?? '']));
  // An object literal would take this name for its prototype.
  Object.defineProperty(everything, '__proto__', { value: '"own"', enumerable: true, configurable: true });

  it('keeps attributes of any name and text apart, as they are, over create, save, login and renewal', async () => {
    const draft = subject.draft();
    const { record } = await subject.created(draft, everything);
    const expected = new Map(Object.entries(everything));
    const textsOf = (attributes = record.attributes) =>
      new Map([...attributes].map(([name, { text }]) => [name, text]));
    expect(textsOf()).toEqual(expected);
    const saved = await subject.visitor();
    const names = Object.keys(everything);
    const outcome = await subject.save(saved, everything);
    expect(outcome.outcome === 'saved' && outcome.revisions).toHaveLength(names.length);
    const renewed = await subject.renewed(saved);
    expect(textsOf((await subject.look(renewed))?.attributes)).toEqual(expected);
    for (const group of [saved.group, subject.group()]) {
      const from = group === saved.group ? renewed : draft.key;
      const login = await subject.replaced({ from, draft: subject.userDraft(group), manner: 'login' });
      expect(textsOf(login.record.attributes)).toEqual(expected);
      expect(await subject.save(login.record.key, {}, { remove: names })).toMatchObject({ outcome: 'saved' });
      expect((await subject.look(login.record.key))?.attributes.size).toBe(0);
    }
  });

  it('compares the revision of an attribute of any name', async () => {
    const key = await subject.visitor(everything);
    for (const attribute of NAMES) {
      const revision = (await subject.look(key))?.attributes.get(attribute)?.revision ?? -1;
      const set = Object.fromEntries([[attribute, 'new']]);
      const stale = { attribute, revision: revision + 1 };
      expect(await subject.save(key, set, { expect: stale })).toEqual({ outcome: 'conflict' });
      expect(await subject.save(key, set, { expect: { attribute, revision } })).toMatchObject({ outcome: 'saved' });
    }
    expect((await subject.look(key))?.attributes.size).toBe(NAMES.length);
  });

  it('keeps an attribute of 64 KiB, and one thousand small ones, byte by byte', async () => {
    const large = `"${'ж🔑x'.repeat(9_362)}"`;
    const many = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`name-${index}`, `${index}`]));
    const key = await subject.visitor({ large });
    await subject.save(key, many);
    expect(await subject.texts(key)).toEqual({ large, ...many });
    const draft = subject.userDraft(subject.group());
    await subject.replaced({ from: key, draft, manner: 'login' });
    expect(await subject.texts(draft.key)).toEqual({ large, ...many });
    await subject.save(draft.key, {}, { remove: Object.keys(many) });
    expect(await subject.texts(draft.key)).toEqual({ large });
  });

  it('keeps principal and meta as they are', async () => {
    for (const text of [...TEXTS.slice(1), 'a b c', '7'.repeat(40), 'undefined', 'null']) {
      const group = subject.group();
      const { record } = await subject.created(subject.userDraft(group, { principal: text, meta: text }));
      expect(await subject.look(record.key)).toMatchObject({ principal: text, meta: text });
      const { sessions } = await subject.store.list(group);
      expect(sessions).toMatchObject([{ principal: text, meta: text }]);
    }
  });

  it('takes any id and group that the port allows', async () => {
    for (const group of ['-', '_', '0', '-_-', 'constructor', '__proto__', 'u'.repeat(40)]) {
      for (const id of [`__proto__${'_'.repeat(34)}`, '-'.repeat(43)]) {
        const draft = subject.userDraft(group, { key: { id, group } });
        await subject.created(draft, { a: '1' });
        expect(await subject.listed(group)).toEqual([id]);
        expect(await subject.store.remove({ group, ids: [id] })).toEqual([id]);
        expect(await subject.listed(group)).toEqual([]);
      }
    }
  });
}
