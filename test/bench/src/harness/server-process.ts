import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** An HTTP server in a process of its own, which says `listening on <port>` when it is up. */
export class ServerProcess {
  private constructor(
    private readonly child: ChildProcess,
    readonly port: number,
  ) {}

  /** @throws Error with the first line of its output that tells why it does not come up */
  static async start(script: string, args: readonly string[]): Promise<ServerProcess> {
    const env = { ...process.env, NODE_ENV: 'production' };
    const child = spawn(process.execPath, [script, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] });
    let output = '';
    const port = await new Promise<number>((resolve, reject) => {
      child.stderr.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
      child.stdout.on('data', (chunk: Buffer) => {
        const listening = /listening on (\d+)/.exec(chunk.toString());
        if (listening !== null) resolve(Number(listening[1]));
      });
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`does not start: ${firstErrorLine(output)}`)));
    });
    return new ServerProcess(child, port);
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGKILL'); // it has nothing to save, and a graceful end would wait for the connections of the load
    await gone;
  }
}

function firstErrorLine(output: string): string {
  return output.split('\n').find((line) => /error/i.test(line)) ?? output.trim().slice(0, 200);
}
