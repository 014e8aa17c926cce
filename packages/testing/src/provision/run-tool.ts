import { type ExecFileOptions, execFile } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export interface ToolResult {
  readonly ok: boolean;
  readonly stdout: string;
  /** What went wrong, in one line; empty when `ok`. */
  readonly problem: string;
}

/** Runs a program to its end; a failure is a result, because the caller goes on to the next source. */
export function runTool(command: string, args: readonly string[], options: ExecFileOptions = {}): Promise<ToolResult> {
  const settings = { timeout: 180_000, maxBuffer: 64 * 1024 * 1024, ...options, encoding: 'utf8' as const };
  return new Promise((resolve) => {
    execFile(command, [...args], settings, (error, stdout, stderr) => {
      if (error === null) resolve({ ok: true, stdout, problem: '' });
      else resolve({ ok: false, stdout, problem: lastLine(stderr) || error.message });
    });
  });
}

/** Absolute path of an executable on PATH. */
export function onPath(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false; // absent or not ours to run: both mean "not here"
  }
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
