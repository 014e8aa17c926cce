import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './free-port.js';
import { type Launch, ServerProcess } from './server-process.js';

export interface LocalServerOptions {
  /**
   * Port on 127.0.0.1.
   * @default a free one
   */
  readonly port?: number;
  /**
   * Folder for data and log, kept when the server stops.
   * @default a new one below the system's temporary folder, removed when the server stops
   */
  readonly dir?: string;
}

export interface RestartOptions {
  /**
   * Starts with no data at all, as a replaced machine would.
   * @default false
   */
  readonly empty?: boolean;
}

/** A server refused to start or did not answer in time; the message quotes the end of its log. */
export class ServerStartError extends Error {
  override readonly name = 'ServerStartError';
}

const START_TIMEOUT_MS = 30_000;
const PROBE_INTERVAL_MS = 10;
const START_ATTEMPTS = 5;

/**
 * A real server as a child of this process: started ⇄ paused, started → killed | stopped, killed → started (restart).
 * `stop` is the end. The port stays the same for the whole life, so clients find it again after a restart.
 */
export abstract class LocalServer {
  readonly host = '127.0.0.1';
  private process: ServerProcess | undefined;
  private currentPort: number;
  private readonly ownsFolder: boolean;
  protected readonly folder: string;

  protected constructor(
    private readonly label: string,
    private readonly options: LocalServerOptions,
  ) {
    this.ownsFolder = options.dir === undefined;
    this.folder = options.dir ?? mkdtempSync(join(tmpdir(), `lockstep-${label}-`));
    this.currentPort = options.port ?? 0;
  }

  abstract get url(): string;

  get port(): number {
    return this.currentPort;
  }

  /** Process id of the server (of the Docker client when the server runs in a container). */
  get pid(): number {
    return this.process?.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.process?.isRunning ?? false;
  }

  protected get dataFolder(): string {
    return join(this.folder, 'data');
  }

  protected abstract readonly stopSignal: 'SIGTERM' | 'SIGINT';
  protected abstract prepareData(): Promise<void>;
  protected abstract launch(port: number): Omit<Launch, 'folder' | 'isFolderOurs'>;
  /** Rejects unless the server answers and it is the one that was just started, not a stranger on its port. */
  protected abstract probe(): Promise<void>;

  /** Ends the server in its orderly way and removes its data. Safe to call twice. */
  async stop(): Promise<void> {
    await this.process?.stop(this.stopSignal);
    if (this.ownsFolder) rmSync(this.folder, { recursive: true, force: true });
  }

  /** SIGKILL, as a power cut would: nothing is flushed. The data folder stays for {@link restart}. */
  async kill(): Promise<void> {
    await this.process?.kill();
  }

  /** SIGSTOP: connections stay open and nothing answers, until {@link resume}. */
  pause(): void {
    this.process?.signal('SIGSTOP');
  }

  /** SIGCONT after {@link pause}. */
  resume(): void {
    this.process?.signal('SIGCONT');
  }

  /** Ends the server if it still runs and starts it again on the same port; resolves when it answers. */
  async restart(options: RestartOptions = {}): Promise<void> {
    if (options.empty === true) {
      await this.kill();
      rmSync(this.dataFolder, { recursive: true, force: true });
    } else {
      await this.beforeRestart();
      await this.process?.stop(this.stopSignal);
    }
    await this.start();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** What must happen while the server still runs so that a restart finds its data again. */
  protected async beforeRestart(): Promise<void> {
    // most servers write by themselves
  }

  /** A port for a server whose caller named none. */
  protected choosePort(): Promise<number> {
    return freePort();
  }

  /** Starts the process; when the port was ours to choose and somebody took it meanwhile, tries another. */
  protected async start(): Promise<void> {
    mkdirSync(this.folder, { recursive: true });
    await this.prepareData();
    for (let attempt = 1; ; attempt += 1) {
      if (this.currentPort === 0) this.currentPort = await this.choosePort();
      try {
        await this.startOnce();
        return;
      } catch (error) {
        await this.kill();
        if (attempt === START_ATTEMPTS || !isPortTaken(error)) throw error;
        if (this.isPortChangeable) this.currentPort = 0;
        else await sleep(PROBE_INTERVAL_MS * 20);
      }
    }
  }

  private hasStarted = false;

  private get isPortChangeable(): boolean {
    return this.options.port === undefined && !this.hasStarted;
  }

  private async startOnce(): Promise<void> {
    let spawnError: Error | undefined;
    const launch = { ...this.launch(this.currentPort), folder: this.folder, isFolderOurs: this.ownsFolder };
    const server = new ServerProcess(launch, (error) => {
      spawnError = error;
    });
    this.process = server;
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        await this.probe();
        if (server.isRunning) break;
      } catch (cause) {
        if (performance.now() > deadline) throw this.startError(server, 'did not answer in time', cause);
      }
      if (!server.isRunning) throw this.startError(server, 'ended while starting', spawnError);
      await sleep(PROBE_INTERVAL_MS);
    }
    this.hasStarted = true;
  }

  private startError(server: ServerProcess, what: string, cause: unknown): ServerStartError {
    const message = `${this.label} on port ${this.currentPort} ${what}:\n${server.logTail()}`;
    return new ServerStartError(message, { cause });
  }
}

function isPortTaken(error: unknown): boolean {
  return error instanceof ServerStartError && /address (already )?in use/i.test(error.message);
}
