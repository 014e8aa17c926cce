/**
 * Place of a strict message among those of its topic and key. A generation begins with 1 and has no gap; a later
 * generation has a larger number, and begins when the counter of the key was forgotten or lost.
 */
export interface Sequence {
  /** Epoch milliseconds on the store's clock at which the generation began. */
  readonly generation: number;
  readonly n: number;
}

const TEXT = /^([1-9]\d{0,15})\.([1-9]\d{0,15})$/;

export function sequenceText({ generation, n }: Sequence): string {
  return `${generation}.${n}`;
}

/** Undefined for what is none: headers come from outside. */
export function parseSequence(text: string | undefined): Sequence | undefined {
  const match = text === undefined ? null : TEXT.exec(text);
  if (!match) return undefined;
  const generation = Number(match[1]);
  const n = Number(match[2]);
  return Number.isSafeInteger(generation) && Number.isSafeInteger(n) ? { generation, n } : undefined;
}
