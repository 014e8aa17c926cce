import { fileURLToPath } from 'node:url';
import { type ChildHandle, spawnNode } from '@lockstep/testing';

const SERVE = fileURLToPath(import.meta.resolve('sample-app/serve'));
const START_TIMEOUT_MS = 60_000;

export type Role = 'web' | 'relay' | 'consumer';

/** Steps between two effects at which a process of that role may be told to die. */
export const FATAL_CHECKPOINTS: Record<Role, readonly string[]> = {
  web: [
    'idempotency.claimed',
    'lock.acquired',
    'sql.commit.before',
    'mall.order.committed',
    'idempotency.executed',
    'idempotency.settled',
  ],
  relay: ['outbox.claimed', 'outbox.published', 'outbox.settled', 'outbox.overdue', 'outbox.acked'],
  consumer: ['outbox.consumer.handled', 'outbox.consumer.committed', 'bullmq.batch.handled', 'bullmq.follow-ups.added'],
};

/**
 * One process of the mall that is started again whenever it dies, as an orchestrator would.
 * starting → ready → dead (killed, or at its fatal checkpoint) → starting …
 */
export class Member {
  kills = 0;
  /** Those of the kills that happened at a fatal checkpoint. */
  readonly fatalSteps: string[] = [];
  readonly unhandledRejections: string[] = [];
  readonly unexpectedExits: string[] = [];
  private child: ChildHandle | undefined;
  private readyUrl: string | undefined;
  private stopped = false;
  private life: Promise<void> | undefined;

  constructor(
    readonly role: Role,
    private readonly env: Readonly<Record<string, string>>,
    /** Where the next process is to die, if anywhere. */
    private readonly nextFatalCheckpoint: (role: Role) => string | undefined,
  ) {}

  /** Where it listens; undefined while it is down, and for roles that do not listen. */
  get url(): string | undefined {
    return this.readyUrl;
  }

  start(): void {
    this.life = this.live();
  }

  kill(): void {
    void this.child?.sigkill();
  }

  freeze(): void {
    this.child?.sigstop();
  }

  thaw(): void {
    this.child?.sigcont();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.child?.sigcont();
    this.child?.sigterm();
    await this.life;
  }

  private async live(): Promise<void> {
    while (!this.stopped) {
      const killAt = this.nextFatalCheckpoint(this.role);
      const child = spawnNode(SERVE, {
        env: { ...this.env, MALL_ROLES: this.role, PORT: '0' },
        ...(killAt === undefined ? {} : { killAt }),
      });
      this.child = child;
      await Promise.race([this.noteUrl(child), child.exited]);
      this.noteExit(child, await child.exited);
      if (killAt !== undefined && child.hits(killAt) > 0) this.fatalSteps.push(killAt);
    }
  }

  private async noteUrl(child: ChildHandle): Promise<void> {
    if (this.role !== 'web') return;
    try {
      const line = await child.waitForLine(/listening on /, START_TIMEOUT_MS);
      this.readyUrl = line.replace(/^.*listening on /, '');
    } catch (error) {
      if (!this.stopped && child.lines.length > 0) this.unexpectedExits.push(String(error));
    }
  }

  private noteExit(child: ChildHandle, { code, signal }: { code: number | null; signal: string | null }): void {
    this.readyUrl = undefined;
    this.unhandledRejections.push(...child.unhandledRejections);
    if (signal === 'SIGKILL') this.kills += 1;
    else if (!this.stopped)
      this.unexpectedExits.push(`${this.role}: ${signal ?? code}\n${child.lines.slice(-20).join('\n')}`);
  }
}

export class Fleet {
  readonly members: readonly Member[];

  constructor(env: Readonly<Record<string, string>>, nextFatalCheckpoint: (role: Role) => string | undefined) {
    const roles: Role[] = ['web', 'web', 'relay', 'consumer'];
    this.members = roles.map((role) => new Member(role, env, nextFatalCheckpoint));
  }

  get kills(): number {
    return this.members.reduce((sum, member) => sum + member.kills, 0);
  }

  /** How often a process died at which step. */
  get fatalSteps(): ReadonlyMap<string, number> {
    const steps = new Map<string, number>();
    for (const step of this.members.flatMap((member) => member.fatalSteps)) steps.set(step, (steps.get(step) ?? 0) + 1);
    return steps;
  }

  /** What no fault excuses: rejections that nobody handled, and processes that ended by themselves. */
  get faults(): string[] {
    return this.members.flatMap((member) => [
      ...member.unhandledRejections.map((reason) => `unhandled rejection in ${member.role}: ${reason}`),
      ...member.unexpectedExits.map((exit) => `unexpected exit of ${exit}`),
    ]);
  }

  start(): void {
    for (const member of this.members) member.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.members.map((member) => member.stop()));
  }

  /** Base URLs of the web processes that are up. */
  get urls(): string[] {
    return this.members.map((member) => member.url).filter((url) => url !== undefined);
  }
}
