const MOST_ITEMS = 128;
const MOST_BYTES = 65_536;

/** One call of a script, on its way or waiting to be sent. */
export interface ScriptCall<Result> {
  readonly keys: readonly string[];
  readonly args: readonly (string | number)[];
  readonly size: number;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/** Calls that travel as one command. Bounded, because Redis serves nobody else while a script runs. */
export class ScriptBatch<Result> {
  readonly calls: ScriptCall<Result>[] = [];
  private size = 0;

  /** Whether the call belongs into the next batch instead. The first always fits. */
  isTooFullFor(call: ScriptCall<Result>): boolean {
    return this.calls.length >= MOST_ITEMS || (this.calls.length > 0 && this.size + call.size > MOST_BYTES);
  }

  add(call: ScriptCall<Result>): void {
    this.calls.push(call);
    this.size += call.size;
  }

  /** What follows the script's name on the wire: number of keys, all keys, all arguments. */
  parameters(): (string | number)[] {
    const keys: string[] = [];
    const args: (string | number)[] = [];
    for (const call of this.calls) {
      keys.push(...call.keys);
      args.push(...call.args);
    }
    return [keys.length, ...keys, ...args];
  }

  fail(error: unknown): void {
    for (const call of this.calls) call.reject(error);
  }
}
