import 'reflect-metadata';
import { ConfigurationError, StoreUnavailableError } from '@lockstep/core';
import { eventually, type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type SqlApplication, startSql } from './support/sql-application.js';

describe('notifications of Postgres', () => {
  const postgres = usePostgres();
  let direct: pg.Client;
  let proxy: FaultProxy;
  let application: SqlApplication;

  beforeAll(async () => {
    direct = new pg.Client(postgres.url);
    await direct.connect();
  });
  afterAll(() => direct.end());
  beforeEach(async () => {
    proxy = await startFaultProxy({ target: postgres.url });
    application = await startSql({ url: proxy.urlFor(postgres.url), maxConnections: 1, commandTimeout: '2s' });
  });
  afterEach(async () => {
    await application.app.close();
    await proxy.stop();
  });

  const notify = (channel: string, payload: string) => direct.query('SELECT pg_notify($1, $2)', [channel, payload]);
  const backends = async (): Promise<number[]> => {
    const { rows } = await direct.query(
      'SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    );
    return rows.map(({ pid }) => pid);
  };

  it('reach whoever listens to the channel, and nobody who listens to another or has left', async () => {
    const [heard, other, left] = [vi.fn(), vi.fn(), vi.fn()];
    await application.sql.listen('orders', heard);
    await application.sql.listen('Other_1', other);
    const leave = await application.sql.listen('orders', left);
    leave();
    await notify('orders', 'first');
    await notify('Other_1', '');
    await eventually(() => expect(other).toHaveBeenCalledWith(''));
    expect(heard.mock.calls).toEqual([['first']]);
    expect(left).not.toHaveBeenCalled();
  });

  it('take one connection for all channels, and none of those for statements', async () => {
    await Promise.all(['a', 'b', 'c'].map((channel) => application.sql.listen(channel, vi.fn())));
    expect(await backends()).toHaveLength(1);
    expect(await application.sql.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(await backends()).toHaveLength(2);
  });

  it('are heard again after the server ended the connection, and everybody is told that some may be missing', async () => {
    const [one, two] = [vi.fn(), vi.fn()];
    await application.sql.listen('one', one);
    await application.sql.listen('two', two);
    const [pid] = await backends();
    await direct.query('SELECT pg_terminate_backend($1)', [pid]);
    await eventually(() => expect([one.mock.calls, two.mock.calls]).toEqual([[[undefined]], [[undefined]]]));
    await notify('two', 'after');
    await eventually(() => expect(two).toHaveBeenLastCalledWith('after'));
    expect(application.incidents).toContain('SQL_NOTIFICATIONS');
  });

  it('are heard again after a connection that went silent, which nobody announced', async () => {
    const heard = vi.fn();
    await application.sql.listen('silent', heard);
    proxy.blackhole();
    await eventually(() => expect(application.incidents).toContain('SQL_NOTIFICATIONS'), { timeoutMs: 15_000 });
    await proxy.heal();
    await eventually(() => expect(heard).toHaveBeenCalledWith(undefined), { timeoutMs: 15_000 });
    await notify('silent', 'after');
    await eventually(() => expect(heard).toHaveBeenLastCalledWith('after'));
  }, 40_000);

  it('cannot be listened to while the server does not answer, and can be afterwards', async () => {
    proxy.refuse();
    const heard = vi.fn();
    await expect(application.sql.listen('down', heard)).rejects.toBeInstanceOf(StoreUnavailableError);
    await proxy.heal();
    await application.sql.listen('down', heard);
    await notify('down', 'up');
    await eventually(() => expect(heard.mock.calls).toEqual([['up']]));
  });

  it('leave no connection behind when the application closes while the first one is being made', async () => {
    const listening = application.sql.listen('orders', vi.fn()).catch((error: unknown) => error);
    await application.app.close();
    await eventually(async () => expect(await backends()).toEqual([]));
    expect(await listening).toBeInstanceOf(StoreUnavailableError);
  });

  it('go on when a listener throws', async () => {
    const heard = vi.fn();
    await application.sql.listen('broken', () => {
      throw new Error('listener');
    });
    await application.sql.listen('broken', heard);
    await notify('broken', '1');
    await eventually(() => expect(heard).toHaveBeenCalledWith('1'));
    expect(application.incidents).toContain('SQL_NOTIFICATIONS');
  });

  it('do not run in the transaction of whoever listened first', async () => {
    const seen: unknown[] = [];
    await application.sql.transaction(async () => {
      await application.sql.listen('context', () => seen.push(application.sql.current()));
    });
    await notify('context', '1');
    await eventually(() => expect(seen).toEqual([undefined]));
  });

  it('refuse what is no channel', async () => {
    await expect(application.sql.listen('x"; DROP', vi.fn())).rejects.toBeInstanceOf(ConfigurationError);
    await expect(application.sql.listen('x'.repeat(64), vi.fn())).rejects.toBeInstanceOf(ConfigurationError);
  });
});
