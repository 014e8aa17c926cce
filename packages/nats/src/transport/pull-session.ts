import { jetstream } from '@nats-io/jetstream';
import { createInbox, type Msg, type NatsConnection, nanos, type Subscription } from '@nats-io/transport-node';

const PULL_MS = 10_000;
const HEARTBEAT_MS = 1_000;
/** So many missed heartbeats, and the server or the way to it is taken for dead. */
const SILENCE_MS = 3 * HEARTBEAT_MS;
/** After a blocked event loop timers come first, and what the server said meanwhile is read a little later. */
const READING_MS = 500;
const STATUS = { heartbeat: 100, notFound: 404, timeout: 408 } as const;

export interface PullSessionInit {
  readonly nats: NatsConnection;
  readonly stream: string;
  readonly consumer: string;
  /** How many messages there is room for, those included that are already asked for. */
  room(): number;
  deliver(message: Msg): void;
}

interface Pull {
  readonly subscription: Subscription;
  left: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Asks one consumer of the server for as many messages as there is room for: open → ended, when the consumer is gone,
 * the server falls silent, or it is closed. An ended one is not used again.
 */
export class PullSession {
  /** Resolves to why it ended. */
  readonly ended: Promise<string>;
  private readonly pulls = new Set<Pull>();
  private tellEnd: (reason: string) => void = () => undefined;
  private isOpen = true;

  constructor(private readonly init: PullSessionInit) {
    this.ended = new Promise((resolve) => {
      this.tellEnd = resolve;
    });
  }

  /** Messages that were asked for and are not here yet. */
  get asked(): number {
    let asked = 0;
    for (const { left } of this.pulls) asked += left;
    return asked;
  }

  /** Asks for what there is room for by now. */
  refill(): void {
    const batch = this.isOpen ? this.init.room() - this.asked : 0;
    if (batch <= 0) return;
    const { nats, stream, consumer } = this.init;
    const inbox = this.newInbox();
    const subscription = nats.subscribe(inbox, { callback: (_error, message) => this.receive(pull, message) });
    const pull: Pull = { subscription, left: batch, timer: undefined };
    this.pulls.add(pull);
    this.watch(pull);
    const request = { batch, expires: nanos(PULL_MS), idle_heartbeat: nanos(HEARTBEAT_MS) };
    nats.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`, JSON.stringify(request), { reply: inbox });
  }

  /** Without waiting: what is still on its way comes again later. */
  end(reason: string): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    for (const pull of this.pulls) this.finish(pull);
    this.tellEnd(reason);
  }

  /** Asks for nothing more; resolves when what the server has already sent was delivered. */
  async close(): Promise<void> {
    if (!this.isOpen) return;
    this.isOpen = false;
    const { nats } = this.init;
    if (!nats.isClosed()) await Promise.allSettled([...this.pulls].map((pull) => pull.subscription.drain()));
    for (const pull of this.pulls) this.finish(pull);
    this.tellEnd('closed');
  }

  private receive(pull: Pull, message: Msg): void {
    clearTimeout(pull.timer);
    const code = message.data.length === 0 ? (message.headers?.code ?? 0) : 0;
    if (code === 0) {
      pull.left -= 1;
      this.init.deliver(message);
    } else if (code === STATUS.timeout || code === STATUS.notFound) {
      pull.left = 0;
    } else if (code !== STATUS.heartbeat) {
      this.end(message.headers?.description ?? `status ${code}`);
    }
    if (!this.pulls.has(pull)) return;
    if (pull.left > 0) {
      this.watch(pull);
      return;
    }
    this.finish(pull);
    this.refill();
  }

  /** The account may forbid all subjects but those below a prefix, which the connection was given. */
  private newInbox(): string {
    return createInbox(jetstream(this.init.nats).getOptions().watcherPrefix);
  }

  private watch(pull: Pull): void {
    const giveUp = (): void => this.end('the server does not answer');
    pull.timer = setTimeout(() => {
      pull.timer = setTimeout(giveUp, READING_MS);
    }, SILENCE_MS);
  }

  private finish(pull: Pull): void {
    clearTimeout(pull.timer);
    this.pulls.delete(pull);
    if (!this.init.nats.isClosed() && !pull.subscription.isClosed()) pull.subscription.unsubscribe();
  }
}
