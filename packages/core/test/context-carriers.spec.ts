import 'reflect-metadata';
import { inspect } from 'node:util';
import {
  type CarriedHeaders,
  ConfigurationError,
  type ContextCarrier,
  ContextCarriers,
  CoreModule,
  type Incident,
  Incidents,
  Keyring,
  LockstepModule,
  type LockstepModuleOptions,
  RequestContext,
} from '@lockstep/core';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';

const SECRET = 'sixteen bytes or more';
const OTHER_SECRET = 'another secret of 16 bytes';
const KEYRING = { current: 'a', keys: { a: SECRET } };

function carriersAlone() {
  const reported: Incident[] = [];
  const incidents = new Incidents();
  incidents.subscribe((incident) => reported.push(incident));
  return { carriers: new ContextCarriers(incidents), reported };
}

function noting(name: string, notes: string[]): ContextCarrier {
  return {
    name,
    inject: (headers) => Object.assign(headers, { [name]: 'x' }),
    run: (_headers, fn) => {
      notes.push(`${name} in`);
      const result = fn();
      notes.push(`${name} out`);
      return result;
    },
  };
}

describe('ContextCarriers', () => {
  it('runs with the carrier that was registered first outermost', () => {
    const { carriers } = carriersAlone();
    const notes: string[] = [];
    carriers.register(noting('one', notes));
    carriers.register(noting('two', notes));
    expect(carriers.run(carriers.inject(), () => 7)).toBe(7);
    expect(notes).toEqual(['one in', 'two in', 'two out', 'one out']);
    expect(carriers.inject()).toEqual({ one: 'x', two: 'x' });
    expect(() => carriers.register(noting('one', []))).toThrow(ConfigurationError);
  });

  it('loses neither the message nor the other carriers to one that throws, and reports it', () => {
    const { carriers, reported } = carriersAlone();
    const fail = (): never => {
      throw new Error('carrier broke');
    };
    carriers.register({ name: 'broken', inject: fail, run: fail });
    const notes: string[] = [];
    carriers.register(noting('sound', notes));
    expect(carriers.inject()).toEqual({ sound: 'x' });
    expect(carriers.run({}, () => 'handled')).toBe('handled');
    expect(notes).toEqual(['sound in', 'sound out']);
    expect(reported.map(({ message }) => message)).toEqual([
      'carrier broken could not write its headers',
      'carrier broken could not restore the context',
    ]);
  });

  it('runs the handler once, and lets its outcome stand, when a carrier throws on the way out', () => {
    const { carriers, reported } = carriersAlone();
    carriers.register({
      name: 'messy',
      inject: () => undefined,
      run: (_headers, fn) => {
        fn();
        throw new Error('on the way out');
      },
    });
    let runs = 0;
    expect(carriers.run({}, () => ++runs)).toBe(1);
    const business = new Error('business');
    const failing = (): never => {
      runs += 1;
      throw business;
    };
    expect(() => carriers.run({}, failing)).toThrow(business);
    expect(runs).toBe(2);
    expect(reported).toHaveLength(1);
  });

  it('does not take a failure of the handler for one of a carrier', () => {
    const { carriers, reported } = carriersAlone();
    carriers.register(noting('sound', []));
    const business = new Error('business');
    const failing = (): never => {
      throw business;
    };
    expect(() => carriers.run({}, failing)).toThrow(business);
    expect(reported).toEqual([]);
  });

  it('never shows a message the principal of whoever started the consumer', () => {
    const { carriers } = carriersAlone();
    const starter = new RequestContext();
    starter.principal = { id: 'starter' };
    const seen = RequestContext.run(starter, () => carriers.run({}, () => RequestContext.current()));
    expect(seen).toBeDefined();
    expect(seen?.principal).toBeUndefined();
    expect(seen?.id).not.toBe(starter.id);
  });
});

describe('the principal of a message', () => {
  async function boot(options: LockstepModuleOptions) {
    const app = await Test.createTestingModule({
      imports: [CoreModule, LockstepModule.forRootAsync({ useFactory: async () => options })],
    }).compile();
    await app.init();
    const reported: string[] = [];
    app.get(Incidents).subscribe(({ code }) => reported.push(code));
    return { app, carriers: app.get(ContextCarriers), reported };
  }

  function asUser<T>(id: string, fn: () => T): T {
    const context = new RequestContext();
    context.principal = { id, tenant: 'mall' };
    return RequestContext.run(context, fn);
  }

  const principalIn = (carriers: ContextCarriers, headers: CarriedHeaders) =>
    carriers.run(headers, () => RequestContext.current()?.principal);

  it('arrives as it left, in ASCII, and cannot be changed by the handler', async () => {
    const { app, carriers } = await boot({ keyring: KEYRING });
    const headers = asUser('Zoë 用户', () => carriers.inject());
    expect(Object.values(headers).join('')).toMatch(/^[\x21-\x7e]*$/);
    const principal = principalIn(carriers, headers);
    expect(principal).toEqual({ id: 'Zoë 用户', tenant: 'mall' });
    expect(Object.isFrozen(principal)).toBe(true);
    await app.close();
  });

  it('is ignored and reported when it was tampered with, and never parsed', async () => {
    const { app, carriers, reported } = await boot({ keyring: KEYRING });
    const headers = asUser('buyer', () => carriers.inject());
    const forged = Buffer.from('{"id":"admin"}').toString('base64url');
    const attempts: unknown[] = [
      { ...headers, 'Lockstep-Principal': forged },
      { ...headers, 'Lockstep-Principal': 'not json at all' },
      { ...headers, 'Lockstep-Principal': 'x'.repeat(100_000) },
      { ...headers, 'Lockstep-Principal': ['array'] },
      { ...headers, 'Lockstep-Principal-Signature': `a.${'A'.repeat(43)}` },
      { ...headers, 'Lockstep-Principal-Signature': undefined },
      { ...headers, 'Lockstep-Principal-Signature': 7 },
      { 'Lockstep-Principal': forged, 'Lockstep-Principal-Signature': new Keyring(KEYRING).sign('other', forged) },
    ];
    for (const attempt of attempts) expect(principalIn(carriers, attempt as CarriedHeaders)).toBeUndefined();
    expect(reported).toEqual(attempts.map(() => 'PRINCIPAL_NOT_PROVEN'));
    await app.close();
  });

  it('stays at home when it is too large, when nobody is asking, and without a keyring', async () => {
    const { app, carriers, reported } = await boot({ keyring: KEYRING });
    expect(asUser('x'.repeat(2_000), () => carriers.inject())).toEqual({});
    expect(reported).toEqual(['PRINCIPAL_TOO_LARGE']);
    expect(carriers.inject()).toEqual({});
    await app.close();
    const without = await boot({});
    expect(asUser('buyer', () => without.carriers.inject())).toEqual({});
    await without.app.close();
  });
});

describe('Keyring', () => {
  it('verifies the old key while new signatures use the current one, and forgets a removed one', () => {
    const before = new Keyring(KEYRING);
    const during = new Keyring({ current: 'b', keys: { a: SECRET, b: OTHER_SECRET } });
    const after = new Keyring({ current: 'b', keys: { b: OTHER_SECRET } });
    const old = before.sign('p', 'payload');
    expect(during.verify('p', 'payload', old)).toBe(true);
    expect(during.sign('p', 'payload')).toMatch(/^b\./);
    expect(after.verify('p', 'payload', during.sign('p', 'payload'))).toBe(true);
    expect(after.verify('p', 'payload', old)).toBe(false);
  });

  it('proves nothing for another purpose, payload or split of the two', () => {
    const keyring = new Keyring(KEYRING);
    const signature = keyring.sign('ab', 'c');
    expect(keyring.verify('ab', 'c', signature)).toBe(true);
    for (const [purpose, payload] of [
      ['a', 'bc'],
      ['abc', ''],
      ['ab', 'd'],
      ['x', 'c'],
    ] as const) {
      expect(keyring.verify(purpose, payload, signature)).toBe(false);
    }
  });

  it('refuses everything that is not letter for letter the signature', () => {
    const keyring = new Keyring(KEYRING);
    const signature = keyring.sign('p', 'x');
    const [id, mac = ''] = signature.split('.');
    const respelled = `${mac.slice(0, -1)}${String.fromCharCode((mac.at(-1) ?? 'A').charCodeAt(0) + 1)}`;
    const malformed = ['', '.', 'a', 'a.', '.x', mac, `${signature}=`, ` ${signature}`, `${signature}\n`, `b.${mac}`];
    for (const text of [...malformed, `${id}.${respelled}`, `__proto__.${mac}`, `a.${'é'.repeat(43)}`]) {
      expect(keyring.verify('p', 'x', text), text).toBe(false);
    }
  });

  it('names the option that is wrong and shows no secret', () => {
    const make =
      (keys: unknown, current = 'a') =>
      () =>
        new Keyring({ current, keys: keys as Record<string, string> });
    expect(make({ a: SECRET }, 'b')).toThrow("Option 'keyring.current' is 'b'");
    expect(make({ a: 'short-secret' })).toThrow("Option 'keyring.keys.a' has 12 bytes; expected at least 16.");
    expect(make({ a: 'short-secret' })).not.toThrow(/short-secret/);
    expect(make({ a: undefined })).toThrow("Option 'keyring.keys.a' is undefined");
    expect(make({ 'a.b': SECRET })).toThrow("Option 'keyring.keys' is 'a.b'");
    expect(make(undefined)).toThrow(ConfigurationError);
    expect(inspect(new Keyring(KEYRING), { showHidden: true, depth: 5 })).not.toContain('sixteen');
    expect(new Keyring({ current: 'a', keys: { a: Buffer.alloc(16) } }).sign('p', 'x')).toMatch(/^a\.[\w-]{43}$/);
  });

  it('derives other keys for each purpose and secret, the same ones again, and shows none of them', () => {
    const keyring = new Keyring({ current: 'b', keys: { a: SECRET, b: OTHER_SECRET } });
    const bytes = (ring: Keyring, purpose: string, id: string) =>
      ring.derive(purpose).find(id)?.export().toString('hex') ?? '';
    const all = ['p', 'q'].flatMap((purpose) => ['a', 'b'].map((id) => bytes(keyring, purpose, id)));
    expect(new Set(all).size).toBe(4);
    expect(all.every((hex) => hex.length === 64)).toBe(true);
    expect(all).not.toContain(Buffer.from(SECRET).toString('hex'));
    expect(bytes(new Keyring(KEYRING), 'p', 'a')).toBe(all[0]);
    expect(keyring.derive('p').currentId).toBe('b');
    expect(keyring.derive('p').find('c')).toBeUndefined();
    expect(keyring.derive('p').find('constructor')).toBeUndefined();
    const shown = inspect(keyring.derive('p'), { showHidden: true, depth: 5 });
    for (const hex of all) expect(shown).not.toContain(hex);
  });
});
