import { expect, it } from 'vitest';
import { REMEMBERED_SAVES, type SessionKey } from '../session-store.js';
import { type ContractSubject, LONG_MS } from './contract-subject.js';

export function describeSaving(subject: ContractSubject): void {
  const revisionOf = async (key: SessionKey, name: string): Promise<number> =>
    (await subject.look(key))?.attributes.get(name)?.revision ?? 0;

  it('writes what is set, deletes what is removed, and leaves all else', async () => {
    const key = await subject.visitor({ kept: '1', changed: '1', removed: '1' });
    const outcome = await subject.save(key, { changed: '2', added: '3' }, { remove: ['removed', 'never-there'] });
    expect(outcome.outcome).toBe('saved');
    expect(await subject.texts(key)).toEqual({ kept: '1', changed: '2', added: '3' });
  });

  it('tells the new version, and the revisions in the order in which attributes were set', async () => {
    const key = await subject.visitor({ a: '1' });
    const before = await subject.look(key);
    const outcome = await subject.save(key, { b: '2', a: '3' });
    const after = await subject.look(key);
    if (outcome.outcome !== 'saved') throw new Error(outcome.outcome);
    expect(outcome.version).toBe(after?.version);
    expect(outcome.version).toBeGreaterThan(before?.version ?? 0);
    expect(outcome.revisions).toEqual([await revisionOf(key, 'b'), await revisionOf(key, 'a')]);
    expect(await revisionOf(key, 'a')).toBeGreaterThan(before?.attributes.get('a')?.revision ?? 0);
  });

  it('loses no attribute of many that save different ones side by side', async () => {
    const key = await subject.visitor();
    const names = Array.from({ length: 40 }, (_, index) => `attribute-${index}`);
    const saves = names.map((name, index) =>
      (index % 2 === 0 ? subject.store : subject.another).save(subject.saving(key, { [name]: name })),
    );
    expect((await Promise.all(saves)).map(({ outcome }) => outcome)).toEqual(names.map(() => 'saved'));
    expect(await subject.texts(key)).toEqual(Object.fromEntries(names.map((name) => [name, name])));
  });

  it('lets exactly one of many win that expect the same revision', async () => {
    const key = await subject.visitor({ cart: '0' });
    const expected = { attribute: 'cart', revision: await revisionOf(key, 'cart') };
    const saves = Array.from({ length: 20 }, (_, index) =>
      (index % 2 === 0 ? subject.store : subject.another).save(
        subject.saving(key, { cart: `${index}` }, { expect: expected }),
      ),
    );
    const outcomes = (await Promise.all(saves)).map(({ outcome }) => outcome);
    expect(outcomes.filter((outcome) => outcome === 'saved')).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === 'conflict')).toHaveLength(19);
    expect(await subject.texts(key)).toEqual({ cart: `${outcomes.indexOf('saved')}` });
  });

  it('writes nothing at all on a conflict', async () => {
    const key = await subject.visitor({ cart: '1', other: '1' });
    const expected = { attribute: 'cart', revision: (await revisionOf(key, 'cart')) + 1_000 };
    const before = await subject.look(key);
    const outcome = await subject.save(key, { cart: '2', new: '2' }, { remove: ['other'], expect: expected });
    expect(outcome).toEqual({ outcome: 'conflict' });
    expect({ ...(await subject.look(key)), readAt: 0 }).toEqual({ ...before, readAt: 0 });
  });

  it('does not take a change of another attribute for a conflict', async () => {
    const key = await subject.visitor({ cart: '1' });
    const expected = { attribute: 'cart', revision: await revisionOf(key, 'cart') };
    await subject.save(key, { theme: '1' });
    expect(await subject.save(key, { cart: '2' }, { expect: expected })).toMatchObject({ outcome: 'saved' });
  });

  it('takes revision 0 for: only if it is absent', async () => {
    const key = await subject.visitor();
    const absent = { attribute: 'cart', revision: 0 };
    expect(await subject.save(key, { cart: '1' }, { expect: absent })).toMatchObject({ outcome: 'saved' });
    expect(await subject.save(key, { cart: '2' }, { expect: absent })).toEqual({ outcome: 'conflict' });
    await subject.save(key, {}, { remove: ['cart'] });
    expect(await subject.save(key, { cart: '3' }, { expect: absent })).toMatchObject({ outcome: 'saved' });
  });

  it('gives an attribute no revision that it had before, though it was deleted meanwhile', async () => {
    const key = await subject.visitor({ cart: '1' });
    const expected = { attribute: 'cart', revision: await revisionOf(key, 'cart') };
    await subject.save(key, {}, { remove: ['cart'] });
    await subject.save(key, { cart: '1' });
    expect(await revisionOf(key, 'cart')).toBeGreaterThan(expected.revision);
    expect(await subject.save(key, { cart: '2' }, { expect: expected })).toEqual({ outcome: 'conflict' });
  });

  it('removes an attribute only at the revision that is expected', async () => {
    const key = await subject.visitor({ cart: '1' });
    const expected = { attribute: 'cart', revision: await revisionOf(key, 'cart') };
    const stale = { ...expected, revision: expected.revision + 1 };
    expect(await subject.save(key, {}, { remove: ['cart'], expect: stale })).toEqual({ outcome: 'conflict' });
    expect(await subject.save(key, {}, { remove: ['cart'], expect: expected })).toMatchObject({ outcome: 'saved' });
    expect(await subject.texts(key)).toEqual({});
  });

  it('takes effect once when a save is sent twice, though it expects a revision that is gone by then (H8)', async () => {
    const key = await subject.visitor({ cart: '1' });
    const expected = { attribute: 'cart', revision: await revisionOf(key, 'cart') };
    const request = subject.saving(key, { cart: '2' }, { expect: expected });
    const first = await subject.store.save(request);
    expect(first).toMatchObject({ outcome: 'saved' });
    expect(await subject.store.save(request)).toEqual(first);
    const version = (await subject.look(key))?.version;
    expect(version).toBe(first.outcome === 'saved' && first.version);
  });

  it('does not undo the save of another by repeating one, and tells the revisions of now (H8)', async () => {
    const key = await subject.visitor();
    const request = subject.saving(key, { cart: '1', gone: '1' });
    await subject.store.save(request);
    const later = await subject.save(key, { cart: '2' }, { remove: ['gone'] });
    if (later.outcome !== 'saved') throw new Error(later.outcome);
    expect(await subject.store.save(request)).toEqual({
      outcome: 'saved',
      version: later.version,
      revisions: [later.revisions[0], 0],
    });
    expect(await subject.texts(key)).toEqual({ cart: '2' });
  });

  it(`remembers the last ${REMEMBERED_SAVES} saves of a session`, async () => {
    const key = await subject.visitor();
    const requests = Array.from({ length: REMEMBERED_SAVES * 2 }, (_, index) =>
      // Names that begin alike: none may be taken for another.
      subject.saving(key, { [`n${index}`]: '1' }, { save: `save-${'x'.repeat(index % 8)}-${index}` }),
    );
    for (const request of requests) await subject.store.save(request);
    const before = (await subject.look(key))?.version;
    for (const request of requests.slice(-REMEMBERED_SAVES)) await subject.store.save(request);
    expect((await subject.look(key))?.version).toBe(before);
    expect(Object.keys((await subject.texts(key)) ?? {})).toHaveLength(requests.length);
  });

  it('takes no save for another whose name begins or ends alike', async () => {
    const key = await subject.visitor();
    for (const save of ['abcdefgh', 'abcdefghi', 'zabcdefgh', 'bcdefghi']) {
      await subject.save(key, { [save]: '1' }, { save });
    }
    expect(Object.keys((await subject.texts(key)) ?? {})).toHaveLength(4);
  });

  it('never brings a removed session back', async () => {
    const key = await subject.visitor({ cart: '1' });
    await subject.store.remove({ group: key.group, ids: [key.id] });
    expect(await subject.save(key, { cart: '2' })).toEqual({ outcome: 'gone' });
    expect(await subject.save(key, { n: '1' }, { expect: { attribute: 'n', revision: 0 } })).toEqual({
      outcome: 'gone',
    });
    expect(await subject.isLive(key)).toBe(false);
  });

  it('never brings a session back that is removed while many save', async () => {
    const key = await subject.session(subject.group());
    const saving = Array.from({ length: 20 }, (_, index) =>
      subject.another.save(subject.saving(key, { [`n${index}`]: '1' })),
    );
    await subject.store.remove({ group: key.group, ids: [key.id] });
    await Promise.all(saving);
    expect(await subject.isLive(key)).toBe(false);
    expect(await subject.use(key, LONG_MS)).toBeUndefined();
    expect(await subject.listed(key.group)).toEqual([]);
  });
}
