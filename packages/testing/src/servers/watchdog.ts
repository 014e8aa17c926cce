import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';

// Reads until its standard input ends, which the kernel does when this process is gone, however it went. `$1` is the
// server, `$2` the folder to remove if any, `$3` the container if it runs in one. Children are listed before their parent dies:
// a backend that a test has stopped with SIGSTOP would otherwise stay for ever.
const SCRIPT = `
while read -r line; do :; done
if [ -n "$3" ]; then docker rm -f "$3" >/dev/null 2>&1; fi
children=$(cat "/proc/$1/task/$1/children" 2>/dev/null || pgrep -P "$1" 2>/dev/null)
kill -9 "$1" $children 2>/dev/null
if [ -n "$2" ]; then rm -rf -- "$2"; fi
`;

/**
 * A shell that ends the server when this process dies without a chance to do so itself (SIGKILL, power button of the
 * runner). It is chosen over `PR_SET_PDEATHSIG` because that fires when the *thread* that spawned the child ends and
 * exists only on Linux.
 */
export class Watchdog {
  private readonly shell: ChildProcess;

  constructor(pid: number, folder: string, container = '') {
    this.shell = spawn('sh', ['-c', SCRIPT, 'lockstep-watchdog', String(pid), folder, container], {
      stdio: ['pipe', 'ignore', 'ignore'],
      // Its own session: Ctrl-C in a terminal goes to the whole foreground group and must not end the watchdog first.
      detached: true,
      cwd: '/',
    });
    this.shell.unref();
    (this.shell.stdin as Socket).unref();
  }

  /** Must follow the end of the server: a watchdog that outlives it could kill a stranger with the same pid. */
  dismiss(): void {
    this.shell.kill('SIGKILL');
  }
}
