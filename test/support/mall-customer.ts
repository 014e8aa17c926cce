import { randomUUID } from 'node:crypto';
import { Browser, type BrowserAnswer } from 'sample-app/browser';
import type { Mall } from './mall.js';

export const PASSWORD = 'correct horse battery staple';

export interface Account {
  readonly name: string;
  readonly password: string;
}

export function newAccount(): Account {
  return { name: `ann-${randomUUID()}`, password: PASSWORD };
}

/** Somebody with a browser, at one of the hosts of the mall. */
export class Customer {
  constructor(
    readonly browser = new Browser(),
    private readonly site = 'www',
  ) {}

  /** The same browser at `order.mall.localhost`. */
  get onOrder(): Customer {
    return new Customer(this.browser, 'order');
  }

  /** Another browser with the same cookies. */
  copy(): Customer {
    return new Customer(this.browser.copy(), this.site);
  }

  async ask(mall: Mall, call: string, body?: unknown, page?: string): Promise<BrowserAnswer> {
    const answer = await this.tryToAsk(mall, call, body, page);
    if (!answer) throw new Error(`The connection broke: ${call}`);
    return answer;
  }

  /** Undefined where the connection broke. */
  tryToAsk(mall: Mall, call: string, body?: unknown, page?: string): Promise<BrowserAnswer | undefined> {
    const [method = '', path = ''] = call.split(' ');
    const from = page === undefined ? {} : { page };
    return this.browser.send(mall.url, `${this.site}.mall.localhost`, { method, path, body, ...from });
  }

  async signUp(mall: Mall): Promise<Account> {
    const account = newAccount();
    const { status } = await this.ask(mall, 'POST /customers', account);
    if (status !== 201) throw new Error(`could not sign up: ${status}`);
    return account;
  }

  login(mall: Mall, account: Account): Promise<BrowserAnswer> {
    return this.ask(mall, 'POST /login', account);
  }

  /** Pieces by SKU. */
  async cart(mall: Mall): Promise<unknown> {
    const { body } = await this.ask(mall, 'GET /cart');
    const lines = body.lines as readonly { sku: string; qty: number }[];
    return Object.fromEntries(lines.map(({ sku, qty }) => [sku, qty]));
  }

  async isLoggedIn(mall: Mall): Promise<boolean> {
    return (await this.ask(mall, 'GET /me')).status === 200;
  }

  async devices(mall: Mall): Promise<readonly { handle: string; isCurrent: boolean; meta: { userAgent: string } }[]> {
    return (await this.ask(mall, 'GET /me/devices')).body as never;
  }
}
