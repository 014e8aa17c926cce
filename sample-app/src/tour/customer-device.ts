import { Browser, type BrowserAnswer } from './browser.js';
import type { MallProcess } from './mall-process.js';

const DOMAIN = 'mall.localhost';
export type Site = 'www' | 'order';

/** Where a request goes: to a host of the mall, served by one of its instances. */
export interface Place {
  readonly site: Site;
  readonly at: Pick<MallProcess, 'url'>;
}

/** A device on which somebody shops. */
export class CustomerDevice {
  constructor(
    readonly name: string,
    private readonly browser = new Browser(name),
  ) {}

  /** One that has the same cookies, and keeps them. */
  copy(): CustomerDevice {
    return new CustomerDevice(this.name, this.browser.copy());
  }

  ask({ site, at }: Place, call: string, body?: unknown): Promise<BrowserAnswer | undefined> {
    const [method = '', path = ''] = call.split(' ');
    return this.browser.send(at.url, `${site}.${DOMAIN}`, { method, path, body });
  }
}
