import { connect, type Socket } from 'node:net';
import { type Direction, Pump } from './pump.js';

export interface Target {
  readonly host: string;
  readonly port: number;
}

/** One client with its own connection to the target. A reset on one side is passed on as a reset. */
export class ProxiedConnection {
  private readonly upstream: Socket;
  private readonly pumps: Record<Direction, Pump>;
  private severed = false;

  constructor(
    private readonly client: Socket,
    target: Target,
    private readonly onClosed: () => void,
  ) {
    this.upstream = connect({ ...target, allowHalfOpen: true });
    const cut = (): void => this.cut();
    this.pumps = {
      toServer: new Pump(client, this.upstream, cut),
      toClient: new Pump(this.upstream, client, cut),
    };
    this.join(client, this.upstream);
    this.join(this.upstream, client);
  }

  pump(direction: Direction): Pump {
    return this.pumps[direction];
  }

  /** RST on both sides: what was on its way is lost. */
  cut(): void {
    this.pumps.toServer.stop();
    this.pumps.toClient.stop();
    reset(this.client);
    reset(this.upstream);
  }

  /** The target sees the connection end; the client sees nothing and may wait for ever. */
  sever(): void {
    this.severed = true;
    for (const pump of Object.values(this.pumps)) {
      pump.hold();
      pump.stop();
    }
    reset(this.upstream);
  }

  /** A severed connection cannot come back: on a healed network its next packet is answered by a reset. */
  heal(): void {
    if (this.severed) this.cut();
    for (const pump of Object.values(this.pumps)) pump.heal();
  }

  private join(socket: Socket, other: Socket): void {
    socket.on('error', () => {
      if (!this.severed) reset(other);
    });
    socket.on('close', () => {
      if (this.client.destroyed && this.upstream.destroyed) this.onClosed();
    });
  }
}

/** One that is just saying goodbye refuses to be reset: its handle would stay open, and Node never end. */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
