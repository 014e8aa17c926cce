import { randomUUID } from 'node:crypto';
import type { SessionModuleExtras } from '@lockstep/session';
import { SessionModule, type SessionModuleOptions, SessionService } from '@lockstep/session';
import type { DynamicModule, INestApplication, Type } from '@nestjs/common';
import { Logger, Module } from '@nestjs/common';
import { type AbstractHttpAdapter, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';

export const PLATFORMS = ['express', 'fastify'] as const;
export type Platform = (typeof PLATFORMS)[number];

export const SECRET = 'a secret of thirty-two bytes or more';

@Module({})
class Root {}

export interface HttpAppInit {
  readonly platform: Platform;
  readonly controllers: readonly Type[];
  readonly imports?: readonly (DynamicModule | Type)[];
  readonly providers?: readonly Type[];
  readonly session?: Partial<SessionModuleOptions & SessionModuleExtras>;
  /** In place of the usual one of the platform. */
  readonly adapter?: AbstractHttpAdapter;
  configure?(app: INestApplication): void;
}

export interface HttpApp {
  readonly app: INestApplication;
  readonly url: string;
  readonly sessions: SessionService;
  close(): Promise<void>;
}

/** An application with sessions, listening on a port of its own. */
export async function startHttpApp(init: HttpAppInit): Promise<HttpApp> {
  const { platform, controllers, imports = [], providers = [], session = {} } = init;
  const options = { keys: { current: 'a', keys: { a: SECRET } }, ...session };
  const module = {
    module: Root,
    imports: [SessionModule.forRoot(options), ...imports],
    controllers: [...controllers],
    providers: [...providers],
  };
  const adapter = init.adapter ?? (platform === 'express' ? new ExpressAdapter() : new FastifyAdapter());
  const app = await NestFactory.create(module, adapter, { logger: false, abortOnError: false });
  Logger.overrideLogger(false);
  init.configure?.(app);
  await app.listen(0, '127.0.0.1');
  const url = (await app.getUrl()).replace('[::1]', '127.0.0.1');
  return { app, url, sessions: app.get(SessionService), close: () => app.close() };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly setCookies: readonly string[];
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the handler answered
  readonly json: any;
}

/** A browser as far as cookies of one host go. */
export class Browser {
  readonly cookies = new Map<string, string>();

  constructor(
    private readonly url: string,
    readonly headers: Record<string, string> = {},
  ) {}

  /** The value of the session's cookie. */
  get token(): string | undefined {
    return this.cookies.get('sid');
  }

  async get(path: string, init: RequestInit = {}): Promise<Answer> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const headers = { ...this.headers, ...(cookie === '' ? {} : { cookie }), ...(init.headers as object) };
    const response = await fetch(`${this.url}${path}`, { redirect: 'manual', ...init, headers });
    const text = await response.text();
    this.keep(response.headers.getSetCookie());
    return {
      status: response.status,
      headers: response.headers,
      setCookies: response.headers.getSetCookie(),
      text,
      json: parsed(text),
    };
  }

  post(path: string, body?: unknown): Promise<Answer> {
    const json =
      body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    return this.get(path, { method: 'POST', ...json });
  }

  /** Another one with the same cookies. */
  clone(): Browser {
    return this.at(this.url);
  }

  /** One with the same cookies, to another node. */
  at(url: string): Browser {
    const other = new Browser(url, this.headers);
    for (const [name, value] of this.cookies) other.cookies.set(name, value);
    return other;
  }

  private keep(lines: readonly string[]): void {
    for (const line of lines) {
      const [pair = ''] = line.split(';');
      const at = pair.indexOf('=');
      if (/;\s*Max-Age=0/i.test(line)) this.cookies.delete(pair.slice(0, at));
      else this.cookies.set(pair.slice(0, at), pair.slice(at + 1));
    }
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function anyUser(): { id: string } {
  return { id: randomUUID() };
}
