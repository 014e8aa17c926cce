import type { IncomingMessage, ServerResponse } from 'node:http';
import { CurrentSession, type SessionRef, SessionService } from '@lockstep/session';
import { Controller, Get, Inject, Post, Query, Req, Res } from '@nestjs/common';
import { ShopController } from './shop.controller.js';

/** What is of another kind where a session is kept by its client. */
@Controller('kept')
export class ClientKeptController {
  constructor(@Inject(SessionService) private readonly sessions: SessionService) {}

  @Post('large')
  large(@CurrentSession() session: SessionRef): object {
    session.set('large', 'x'.repeat(5_000));
    return { ok: true };
  }

  /** Answers what became of a change that comes after the head. */
  @Post('late/:what')
  async late(@CurrentSession() session: SessionRef, @Res() reply: ServerResponse & Hijackable): Promise<void> {
    reply.hijack?.();
    const raw = reply.raw ?? reply;
    raw.writeHead(200);
    raw.write('begun:');
    const said: string[] = [];
    const attempts: (() => unknown)[] = [
      () => session.set('late', 1),
      () => session.delete('color'),
      () => session.update('late', () => 1),
      () => session.logout(),
      () => session.rotate(),
    ];
    for (const attempt of attempts) {
      try {
        await attempt();
        said.push('done');
      } catch (error) {
        said.push((error as { code: string }).code);
      }
    }
    raw.end(said.join(','));
  }

  /** Changes a value in place when the head has left: no call tells. */
  @Post('late-in-place')
  lateInPlace(@CurrentSession() session: SessionRef, @Res() reply: ServerResponse & Hijackable): void {
    reply.hijack?.();
    const raw = reply.raw ?? reply;
    const list = session.get<string[]>('list');
    raw.writeHead(200);
    raw.write('begun:');
    list?.push('tea');
    raw.end('over');
  }

  /** What a change came to whose client had left. */
  static afterLeaving: unknown;
  private static readonly left = new Set<string>();

  static hasLeft(gate: string): boolean {
    return ClientKeptController.left.has(gate);
  }

  @Post('left')
  async leave(
    @CurrentSession() session: SessionRef,
    @Query('gate') gate: string,
    @Req() request: { raw?: IncomingMessage } & IncomingMessage,
  ): Promise<void> {
    (request.raw ?? request).socket.once('close', () => ClientKeptController.left.add(gate));
    const { entered, opened } = ShopController.gates.get(gate) ?? {};
    entered?.();
    await opened;
    try {
      session.set('late', 1);
      ClientKeptController.afterLeaving = 'done';
    } catch (error) {
      ClientKeptController.afterLeaving = error;
    }
  }

  @Post('revoke-all')
  async revokeAll(@CurrentSession() session: SessionRef): Promise<object> {
    const { principal } = session;
    if (!principal) throw new Error('nobody');
    return { ended: await this.sessions.revokeAll(principal) };
  }

  /** Everywhere but here. */
  @Post('revoke-others')
  async revokeOthers(@CurrentSession() session: SessionRef): Promise<object> {
    const { principal } = session;
    if (!principal) throw new Error('nobody');
    await this.sessions.revokeAll(principal);
    await session.login(principal);
    return { ok: true };
  }

  @Get('who')
  who(@CurrentSession() session: SessionRef): object {
    return { id: session.principal?.id ?? null, handle: session.handle ?? null };
  }
}

interface Hijackable {
  hijack?(): void;
  readonly raw?: ServerResponse;
}
