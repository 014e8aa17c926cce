import type { ScriptReceiver } from '@lockstep/redis';

/**
 * One question to every node.
 *
 * ```
 * open --enough answers--> concluded     --an answer that comes later--> (still told to forEachSettled)
 *      --time over--> concluded
 * ```
 * A node that has not answered, or with an error, counts as one that did not agree.
 */
export abstract class Poll<Reply> implements ScriptReceiver<Reply> {
  readonly replies: (Reply | undefined)[];
  /** How many nodes have not settled yet. */
  pending: number;
  readonly concluded: Promise<void>;
  private conclude: () => void = () => undefined;
  private isConcluded = false;
  private timer: NodeJS.Timeout | undefined;
  /** Made when needed, as mostly nothing fails. */
  private failed: unknown[] | undefined;
  private listener: ((index: number) => void) | undefined;

  constructor(readonly size: number) {
    this.replies = new Array<Reply | undefined>(size).fill(undefined);
    this.pending = size;
    this.concluded = new Promise((resolve) => {
      this.conclude = resolve;
    });
  }

  /** How many nodes must agree. */
  get majority(): number {
    return (this.size + 1) / 2;
  }

  answer(index: number, reply: Reply): void {
    this.replies[index] = reply;
    this.tally(reply);
    this.settle(index);
  }

  fail(index: number, error: unknown): void {
    this.failed ??= new Array<unknown>(this.size).fill(undefined);
    this.failed[index] = error;
    this.settle(index);
  }

  errorAt(index: number): unknown {
    return this.failed?.[index];
  }

  /** Concludes after that time with what is there by then. */
  concludeWithin(ms: number): void {
    if (!this.isConcluded) this.timer = setTimeout(() => this.end(), ms);
  }

  /** Why each node did not answer; also those of which nothing was heard. */
  failures(silence: () => unknown = () => undefined): unknown[] {
    return this.replies.map((reply, index) => this.errorAt(index) ?? (reply === undefined ? silence() : undefined));
  }

  /** Calls `listener` for every node that has settled, now, and for every other as soon as it has. */
  forEachSettled(listener: (index: number) => void): void {
    for (let index = 0; index < this.size; index += 1) if (this.hasSettled(index)) listener(index);
    if (this.pending === 0) return;
    const { listener: earlier } = this;
    this.listener = (index) => {
      earlier?.(index);
      listener(index);
    };
  }

  protected abstract tally(reply: Reply): void;
  /** Whether no answer that may still come can change the result. */
  protected abstract isConclusive(): boolean;

  private hasSettled(index: number): boolean {
    return this.replies[index] !== undefined || this.errorAt(index) !== undefined;
  }

  private settle(index: number): void {
    this.pending -= 1;
    this.listener?.(index);
    if (!this.isConcluded && this.isConclusive()) this.end();
  }

  private end(): void {
    this.isConcluded = true;
    clearTimeout(this.timer);
    this.conclude();
  }
}

/** A question that a node answers by yes or no. */
export class YesNoPoll<Reply> extends Poll<Reply> {
  private yes = 0;
  private no = 0;

  constructor(
    size: number,
    private readonly isYes: (reply: Reply) => boolean,
  ) {
    super(size);
  }

  /** What a majority said; undefined when none said the same. */
  get result(): boolean | undefined {
    if (this.yes >= this.majority) return true;
    return this.no >= this.majority ? false : undefined;
  }

  protected tally(reply: Reply): void {
    if (this.isYes(reply)) this.yes += 1;
    else this.no += 1;
  }

  protected isConclusive(): boolean {
    return this.pending === 0 || this.result !== undefined;
  }
}
