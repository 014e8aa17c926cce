/**
 * A Lua function that handles one item, as TypeScript sees it. The `.lua` file defines `local function one(…)` with
 * {@link keyCount} keys and then {@link argCount} arguments (all of them strings), after a header that states purpose,
 * KEYS, ARGV with units, and what it returns. It may use the server's clock as `now_us` and `now_ms`.
 */
export interface ScriptDefinition<Item, Result> {
  /** For errors and metrics: `lock.acquire`. */
  readonly name: string;
  readonly source: URL;
  /**
   * What `one` needs in its rarer cases, or shares with other scripts: Lua files that stand in this order in one
   * function, the last of which ends with `return { … }`. The script gets that table by `library()`.
   */
  readonly library?: readonly URL[];
  /** What is the same for all calls over one connection: `{ CLAIM_MS: 2000 }` is a local of that name in the script. */
  readonly constants?: Readonly<Record<string, string | number | boolean>>;
  readonly keyCount: number;
  readonly argCount: number;
  /** Exactly `keyCount` keys, all in one hash slot. */
  keys(item: Item): readonly string[];
  /** Exactly `argCount` arguments. */
  args(item: Item): readonly (string | number)[];
  /** How many {@link shared} arguments the function takes, after those of the item. @default 0 */
  readonly sharedCount?: number;
  /**
   * Arguments that most calls of a tick have in common: calls that agree in them travel together, and they travel once.
   * Exactly `sharedCount`.
   */
  shared?(item: Item): readonly (string | number)[];
  /**
   * `lazy`: the script calls `read_clock()` where it needs the server's clock, which a lone call that does not saves.
   * @default read before the first item
   */
  readonly clock?: 'lazy';
  /**
   * The meaning of what the function returned. A reply that makes no sense should throw.
   *
   * @param serverMs the server's clock when the call ran, in milliseconds; 0 where a lazy one was not read
   */
  read(reply: unknown, serverMs: number): Result;
}
