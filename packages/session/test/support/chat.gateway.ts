import type { IncomingMessage } from 'node:http';
import { RequestContext } from '@lockstep/core';
import { SessionService, type UpgradedSession } from '@lockstep/session';
import { Inject } from '@nestjs/common';
import {
  type OnGatewayConnection,
  type OnGatewayDisconnect,
  SubscribeMessage,
  WebSocketGateway,
} from '@nestjs/websockets';
import type { WebSocket } from 'ws';

/** What a handler of a message saw. */
export interface Seen {
  readonly principal: string | undefined;
  readonly session: string | undefined;
  readonly value: unknown;
}

/** A gateway as a user would write it: the socket lives as long as the session. */
@WebSocketGateway()
export class ChatGateway implements OnGatewayConnection<WebSocket>, OnGatewayDisconnect<WebSocket> {
  private readonly sessions = new Map<WebSocket, UpgradedSession>();
  /** Handlers of `wait` end when it resolves. */
  gate: Promise<unknown> = Promise.resolve();
  waiting = 0;
  afterLogout: Seen | undefined;

  constructor(@Inject(SessionService) private readonly service: SessionService) {}

  get size(): number {
    return this.sessions.size;
  }

  get any(): UpgradedSession {
    const [session] = this.sessions.values();
    if (!session) throw new Error('no session');
    return session;
  }

  async handleConnection(client: WebSocket, request: IncomingMessage): Promise<void> {
    const session = await this.service.fromUpgrade(request);
    if (!session) return client.close(4401, 'login first');
    session.onEnd((reason) => (reason === 'shutdown' ? client.close(1001, reason) : client.close(4401, reason)));
    this.sessions.set(client, session);
    client.send(JSON.stringify({ hello: session.session.principal?.id ?? null }));
  }

  handleDisconnect(client: WebSocket): void {
    this.sessions.delete(client);
  }

  @SubscribeMessage('see')
  see(client: WebSocket): Promise<Seen> | undefined {
    return this.sessions.get(client)?.run(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      return this.seen();
    });
  }

  @SubscribeMessage('put')
  put(client: WebSocket, value: unknown): Promise<Seen> | undefined {
    return this.sessions.get(client)?.run(async () => {
      this.service.current.set('color', value);
      await this.service.current.save();
      return this.seen();
    });
  }

  @SubscribeMessage('wait')
  wait(client: WebSocket): Promise<Seen> | undefined {
    return this.sessions.get(client)?.run(async () => {
      this.waiting += 1;
      await this.gate;
      return this.seen();
    });
  }

  @SubscribeMessage('logout')
  logout(client: WebSocket): Promise<void> | undefined {
    return this.sessions.get(client)?.run(async () => {
      await this.service.current.logout();
      this.afterLogout = this.seen();
    });
  }

  @SubscribeMessage('refused')
  refused(client: WebSocket): Promise<readonly string[]> | undefined {
    return this.sessions.get(client)?.run(async () => {
      const { current } = this.service;
      const results = await Promise.allSettled([current.login({ id: 'other' }), current.rotate()]);
      return results.map((result) => (result.status === 'rejected' ? String(result.reason.message) : 'done'));
    });
  }

  private seen(): Seen {
    const current = this.service.find();
    return {
      principal: RequestContext.current()?.principal?.id,
      session: current?.principal?.id,
      value: current?.get('color') ?? null,
    };
  }
}
