const MOST_ITEMS = 128;
const MOST_BYTES = 65_536;

type Argument = string | number;

/** Who gets the answers of calls. `index` is what a call was made with, so that one receiver can tell them apart. */
export interface ScriptReceiver<Result> {
  answer(index: number, result: Result): void;
  fail(index: number, error: unknown): void;
}

/** One call of a script, on its way or waiting to be sent. */
export interface ScriptCall<Result> {
  readonly keys: readonly string[];
  readonly args: readonly Argument[];
  readonly shared: readonly Argument[];
  readonly size: number;
  readonly receiver: ScriptReceiver<Result>;
  readonly index: number;
}

/** Calls that travel as one command. Bounded, because Redis serves nobody else while a script runs. */
export class ScriptBatch<Result> {
  readonly calls: ScriptCall<Result>[] = [];
  private size = 0;

  constructor(
    private readonly slot: number,
    private readonly shared: readonly Argument[],
  ) {}

  /** Whether the call may travel in this command, if there is room. */
  suits(slot: number, shared: readonly Argument[]): boolean {
    if (slot !== this.slot) return false;
    for (let index = 0; index < shared.length; index += 1) if (shared[index] !== this.shared[index]) return false;
    return true;
  }

  /** Whether the call belongs into the next batch instead. The first always fits. */
  isTooFullFor(call: ScriptCall<Result>): boolean {
    return this.calls.length >= MOST_ITEMS || (this.calls.length > 0 && this.size + call.size > MOST_BYTES);
  }

  add(call: ScriptCall<Result>): void {
    this.calls.push(call);
    this.size += call.size;
  }

  /** The command's arguments: the script, the number of keys, all keys, shared arguments, all arguments. */
  parameters(script: string): Argument[] {
    const parameters: Argument[] = [script, 0];
    for (const { keys } of this.calls) for (const key of keys) parameters.push(key);
    parameters[1] = parameters.length - 2;
    for (const arg of this.shared) parameters.push(arg);
    for (const { args } of this.calls) for (const arg of args) parameters.push(arg);
    return parameters;
  }

  fail(error: unknown): void {
    for (const { receiver, index } of this.calls) receiver.fail(index, error);
  }
}
