import { SessionModule, type SessionModuleOptions, SessionService } from '@lockstep/session';
import { type SealedCookieOptions, sealedCookieStore } from '@lockstep/session/sealed';
import { Test } from '@nestjs/testing';
import { SECRET } from './http-app.js';

/** A clock that stands until it is moved. */
export class HandClock {
  nowMs = Date.UTC(2026, 0, 1);
  readonly read = (): number => this.nowMs;

  pass(ms: number): void {
    this.nowMs += ms;
  }
}

/** The module's sealed sessions, as one process has them. */
export async function openSealed(
  sealed: SealedCookieOptions = {},
  session: Partial<SessionModuleOptions> = {},
): Promise<SessionService> {
  const options = { keys: { current: 'a', keys: { a: SECRET } }, ...session };
  const module = SessionModule.forRoot({ ...options, store: sealedCookieStore(sealed) });
  const testing = await Test.createTestingModule({ imports: [module] }).compile();
  return testing.get(SessionService);
}

export function entries(attributes: Readonly<Record<string, unknown>>): ReadonlyMap<string, string> {
  return new Map(Object.entries(attributes).map(([name, value]) => [name, JSON.stringify(value)]));
}
