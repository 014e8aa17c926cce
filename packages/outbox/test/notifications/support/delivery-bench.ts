import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import {
  type NotificationApplication,
  type NotificationApplicationOptions,
  startNotifications,
} from './notification-application.js';
import { Partner } from './partner.js';

export const HOUR_MS = 3_600_000;
export const PATIENCE = { timeoutMs: 15_000 };

type Options = Partial<NotificationApplicationOptions>;

/** Partners and applications on one Postgres, empty for every test. */
export function useDelivery() {
  const postgres = usePostgres();
  const applications: NotificationApplication[] = [];
  const partners: Partner[] = [];
  let db: pg.Client;

  const newPartner = async (): Promise<Partner> => {
    const started = await Partner.start();
    partners.push(started);
    return started;
  };
  const start = async (options: Options = {}): Promise<NotificationApplication> => {
    const application = await startNotifications({ url: postgres.url, ...options });
    applications.push(application);
    return application;
  };
  /** With one endpoint, `shop`, of the first partner. */
  const startShop = async (options: Options = {}) => {
    const [partner] = partners;
    if (!partner) throw new Error('there is a partner from beforeEach on');
    const application = await start(options);
    const { secret } = await application.endpoints.register({ id: 'shop', url: partner.url });
    return { ...application, secret };
  };
  const send = ({ sql, notifications }: NotificationApplication, endpoint = 'shop', data: unknown = { n: 1 }) =>
    sql.transaction(() => notifications.send({ endpoint, type: 'order.shipped', data }));
  const untilState = (application: NotificationApplication, id: string, state: string) =>
    eventually(async () => {
      const status = await application.notifications.find(id);
      expect(status).toMatchObject({ state });
      return status;
    }, PATIENCE);

  beforeAll(async () => {
    db = new pg.Client(postgres.url);
    await db.connect();
  });
  afterAll(() => db.end());
  afterEach(async () => {
    // First the partners, so that nobody is waited for.
    await Promise.all(partners.splice(0).map((each) => each.stop()));
    await Promise.all(applications.splice(0).map(({ app }) => app.close()));
    await db.query('TRUNCATE lockstep_notification, lockstep_notification_endpoint');
  });
  const onPartner = (use: (partner: Partner) => void): void => beforeEach(async () => use(await newPartner()));
  const query = (text: string) => db.query(text);
  return { newPartner, start, startShop, send, untilState, onPartner, query };
}
