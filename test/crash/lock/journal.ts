import { openSync, readFileSync, writeSync } from 'node:fs';

/** All times in milliseconds of the clock of the machine, see `sharedMs`. */
export type Note =
  | {
      readonly type: 'granted';
      readonly hold: string;
      readonly key: string;
      readonly fence: string;
      /** Before the lock was asked for. */
      readonly askedAt: number;
      readonly at: number;
      readonly until: number;
    }
  | { readonly type: 'extended'; readonly hold: string; readonly until: number }
  /** `isHeld()` was true after `at`. */
  | { readonly type: 'sure'; readonly hold: string; readonly at: number }
  /** `at` is when the loss was noted, or before the release began. */
  | { readonly type: 'ended'; readonly hold: string; readonly at: number; readonly how: string }
  /** The register has confirmed the change. */
  | { readonly type: 'changed'; readonly register: string; readonly key: string; readonly change: string }
  /** Something was refused or failed in a way that faults may lead to. */
  | { readonly type: 'failed'; readonly what: string; readonly code: string }
  /** Something that no fault explains. */
  | { readonly type: 'odd'; readonly what: string; readonly text: string };

/** What a process notes about itself, line by line, in a file: a SIGKILL takes none of it back. */
export class Journal {
  private readonly descriptor: number;

  constructor(path: string) {
    this.descriptor = openSync(path, 'a');
  }

  write(note: Note): void {
    writeSync(this.descriptor, `${JSON.stringify(note)}\n`);
  }
}

/** The process may have been killed in the midst of its last line. */
export function readJournal(path: string): Note[] {
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Note);
}
