import { checkpoint } from '@lockstep/core';
import { CurrentSession, type SessionRef, SessionService } from '@lockstep/session';
import { Controller, Get, Inject, Param, Post } from '@nestjs/common';

/** What a browser sees of its session. */
export interface Seen {
  readonly principal: string | null;
  readonly handle: string | null;
  readonly attributes: Readonly<Record<string, unknown>>;
}

@Controller()
export class DeskController {
  constructor(@Inject(SessionService) private readonly sessions: SessionService) {}

  @Get('seen')
  seen(@CurrentSession() session: SessionRef): Seen {
    const attributes = Object.fromEntries(session.names.map((name) => [name, session.get(name)]));
    return { principal: session.principal?.id ?? null, handle: session.handle ?? null, attributes };
  }

  @Post('login/:user')
  async login(@CurrentSession() session: SessionRef, @Param('user') user: string): Promise<Seen> {
    await session.login({ id: user });
    return this.seen(session);
  }

  /** Answers only what is stored: a session that has ended is an error here. */
  @Post('save/:name/:value')
  async save(
    @CurrentSession() session: SessionRef,
    @Param('name') name: string,
    @Param('value') value: string,
  ): Promise<Seen> {
    session.set(name, Number(value));
    await session.save();
    checkpoint('handler');
    return this.seen(session);
  }

  /** Is stored with the answer. */
  @Post('set/:name/:value')
  set(@CurrentSession() session: SessionRef, @Param('name') name: string, @Param('value') value: string): Seen {
    session.set(name, Number(value));
    return this.seen(session);
  }

  @Post('count')
  async count(@CurrentSession() session: SessionRef): Promise<Seen> {
    await session.update<number>('count', (count = 0) => count + 1);
    return this.seen(session);
  }

  @Post('rotate')
  async rotate(@CurrentSession() session: SessionRef): Promise<Seen> {
    await session.rotate();
    return this.seen(session);
  }

  @Post('logout')
  async logout(@CurrentSession() session: SessionRef): Promise<Seen> {
    await session.logout();
    return this.seen(session);
  }

  @Post('revoke-all/:user')
  async revokeAll(@Param('user') user: string): Promise<{ readonly ended: number }> {
    return { ended: await this.sessions.revokeAll({ id: user }) };
  }

  @Get('devices/:user')
  async devices(@Param('user') user: string): Promise<readonly string[]> {
    return (await this.sessions.list({ id: user })).map(({ handle }) => handle);
  }
}
