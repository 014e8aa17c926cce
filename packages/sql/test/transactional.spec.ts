import 'reflect-metadata';
import { ConfigurationError } from '@lockstep/core';
import { type Sql, SqlModule, Sql as SqlToken, Transactional } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { usePostgres } from '@lockstep/testing/vitest';
import { Inject, Injectable, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type SqlApplication, startSql } from './support/sql-application.js';

@Injectable()
class Ledger {
  constructor(@Inject(SqlToken) private readonly sql: Sql) {}

  @Transactional()
  async book(names: readonly string[], failure?: Error): Promise<number> {
    for (const name of names) await this.insert(name);
    if (failure) throw failure;
    return names.length;
  }

  @Transactional()
  async bookAround(name: string, inner: () => Promise<unknown>): Promise<void> {
    await this.insert(name);
    await inner();
  }

  @Transactional({ propagation: 'requires-new' })
  async audit(name: string): Promise<void> {
    await this.insert(name);
  }

  @Transactional({ propagation: 'nested' })
  async step(name: string): Promise<void> {
    await this.insert(name);
    throw new Error('step');
  }

  @Transactional({ isolation: 'serializable' })
  async isolation(): Promise<unknown> {
    const [row] = await this.sql.requireCurrent('isolation').query('SHOW transaction_isolation');
    return row;
  }

  private insert(name: string): Promise<number> {
    return this.sql.requireCurrent('insert').execute('INSERT INTO entry VALUES ($1)', [name]);
  }
}

describe('@Transactional', () => {
  const postgres = usePostgres();
  let application: SqlApplication;
  let ledger: Ledger;

  beforeAll(async () => {
    application = await startSql({ url: postgres.url, providers: [Ledger] });
    ledger = application.app.get(Ledger);
    await application.sql.execute('CREATE TABLE entry (name text PRIMARY KEY)');
  });
  afterAll(() => application.app.close());
  beforeEach(async () => {
    await application.sql.execute('TRUNCATE entry');
  });

  const names = async () =>
    (await application.sql.query<{ name: string }>('SELECT name FROM entry ORDER BY name')).map(({ name }) => name);

  it('commits when the method resolves', async () => {
    expect(await ledger.book(['a', 'b'])).toBe(2);
    expect(await names()).toEqual(['a', 'b']);
  });

  it('rolls back when the method rejects, and passes its error on by identity', async () => {
    const failure = new Error('business');
    await expect(ledger.book(['a'], failure)).rejects.toBe(failure);
    expect(await names()).toEqual([]);
  });

  it('lets methods that call each other share one transaction', async () => {
    const failing = ledger.bookAround('a', async () => {
      await ledger.book(['b']);
      throw new Error('late');
    });
    await expect(failing).rejects.toThrow('late');
    expect(await names()).toEqual([]);
  });

  it('keeps what a method with a transaction of its own has committed', async () => {
    const failing = ledger.bookAround('a', async () => {
      await ledger.audit('b');
      throw new Error('late');
    });
    await expect(failing).rejects.toThrow('late');
    expect(await names()).toEqual(['b']);
  });

  it('undoes a nested step alone', async () => {
    await ledger.bookAround('a', () => ledger.step('b').catch(() => undefined));
    expect(await names()).toEqual(['a']);
  });

  it('gives the isolation level that it names', async () => {
    expect(await ledger.isolation()).toEqual({ transaction_isolation: 'serializable' });
  });

  it('refuses a wrong option where the class is defined, naming it and its value', () => {
    expect(() => Transactional({ isolation: 'snapshot' as 'serializable' })).toThrow(/'isolation' is 'snapshot'/);
    expect(() => Transactional({ propagation: 'never' as 'nested' })).toThrow(/'propagation' is 'never'/);
  });

  it('fails at boot where SqlModule is not imported', async () => {
    await expect(Test.createTestingModule({ providers: [Ledger] }).compile()).rejects.toThrow(/dependencies/);
  });

  it('fails at the first call on an instance that Nest did not make, saying what to import', async () => {
    const bare = new Ledger(application.sql);
    await expect(bare.book(['a'])).rejects.toThrow(/SqlModule\.forRoot/);
  });
});

describe('SqlModule', () => {
  const postgres = usePostgres();

  it('takes its options and its driver from what the container holds', async () => {
    @Module({ providers: [{ provide: 'URL', useFactory: () => postgres.url }], exports: ['URL'] })
    class SettingsModule {}
    const app = await Test.createTestingModule({
      imports: [
        SqlModule.forRootAsync({
          imports: [SettingsModule],
          inject: ['URL'],
          useFactory: () => ({ commandTimeout: '2s' as const }),
          driver: pgDriver({ inject: ['URL'], useFactory: (url: string) => ({ url }) }),
        }),
      ],
    }).compile();
    await app.init();
    expect(await app.get(SqlToken).query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await app.close();
    await expect(app.get(SqlToken).query('SELECT 1')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });

  it('refuses wrong options at boot, naming the option and its value', async () => {
    const url = 'postgres://postgres@127.0.0.1:1/none';
    const attempt = (options: object) => startSql({ url, ...options });
    await expect(attempt({ migrations: 'maybe' })).rejects.toThrow(/'migrations' is 'maybe'/);
    await expect(attempt({ commandTimeout: 'soon' })).rejects.toThrow(/'commandTimeout' is 'soon'/);
    await expect(attempt({ commitTimeout: 0 })).rejects.toThrow(/'commitTimeout'/);
    await expect(attempt({ inboxRetention: '1h' })).rejects.toThrow(/'inboxRetention'/);
    await expect(attempt({ maxConnections: 0 })).rejects.toThrow(/'maxConnections' is 0/);
  });

  it('refuses to be without a driver, and a driver to be without a database', async () => {
    expect(() => SqlModule.forRoot({})).toThrow(ConfigurationError);
    await expect(startSql({ url: '' })).rejects.toThrow(/pgDriver needs/);
  });

  it('never quotes a URL, which may hold a password', async () => {
    const error: unknown = await startSql({ url: 'http://me:secret@host/db' }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(String(error)).not.toContain('secret');
  });
});
