import { fileURLToPath } from 'node:url';
import { type ChildHandle, type SpawnNodeOptions, spawnNode } from '@lockstep/testing';

const SERVE = fileURLToPath(new URL('../serve.js', import.meta.url));
const START_TIMEOUT_MS = 30_000;

/** One instance of the mall, as a process of its own, so that it can be killed or stopped. */
export class MallProcess {
  private constructor(
    private readonly child: ChildHandle,
    readonly url: string,
  ) {}

  /** Resolves once it serves. With `killAt` or `pauseAt` it dies or stops when it passes that checkpoint. */
  static async open(
    env: Readonly<Record<string, string>>,
    at: Pick<SpawnNodeOptions, 'killAt' | 'pauseAt'> = {},
  ): Promise<MallProcess> {
    const child = spawnNode(SERVE, { env, ...at });
    const line = await child.waitForLine(/listening on /, START_TIMEOUT_MS);
    await child.waitForLine(/ready as/, START_TIMEOUT_MS);
    return new MallProcess(child, line.replace(/^.*listening on /, ''));
  }

  /** How the process ended. */
  async died(): Promise<string> {
    const exit = await this.child.exited;
    return exit.signal ?? `exit code ${exit.code}`;
  }

  /** Resolves once it has passed the checkpoint, so many times. */
  reached(checkpoint: string, hit = 1): Promise<void> {
    return this.child.reached({ name: checkpoint, hit });
  }

  /** Goes on after it was stopped. */
  wake(): void {
    this.child.sigcont();
  }

  /** By SIGKILL: it has no time for anything. */
  async kill(): Promise<void> {
    await this.child.sigkill();
  }

  get lastLines(): readonly string[] {
    return this.child.lines.slice(-20);
  }

  async close(): Promise<void> {
    this.child.sigcont(); // a stopped process would hear of its end only when it goes on
    this.child.sigterm();
    await this.child.exited;
  }
}
