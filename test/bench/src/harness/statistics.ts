/** The middle value; the mean of the two middle ones when their number is even. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Linear interpolation between the two closest ranks; `fraction` from 0 to 1. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = ascending(values);
  const position = fraction * (sorted.length - 1);
  const below = at(sorted, Math.floor(position));
  const above = at(sorted, Math.ceil(position));
  return below + (above - below) * (position - Math.floor(position));
}

/**
 * Lower end of the two-sided 95 % interval of the median, by order statistics: the k-th smallest value, k the largest
 * with P(Binomial(n, ½) < k) ≤ 2.5 %. It assumes nothing about how the values are spread and draws no random numbers.
 * Below six values no such k exists; the smallest value is returned, which promises less than 95 %.
 */
export function medianLowEnd(values: readonly number[]): number {
  const sorted = ascending(values);
  let below = 0;
  let rank = 0;
  for (let k = 0; k < sorted.length; k += 1) {
    below += binomialHalf(sorted.length, k);
    if (below > 0.025) break;
    rank = k;
  }
  return at(sorted, rank);
}

/** One ratio per round: what a round's noise does to both sides cancels out of it. */
export function pairedRatios(numerators: readonly number[], denominators: readonly number[]): number[] {
  if (numerators.length !== denominators.length) {
    throw new RangeError(`Unpaired rounds: ${numerators.length} against ${denominators.length}`);
  }
  return numerators.map((value, round) => value / at(denominators, round));
}

/** P(Binomial(n, ½) = k). */
function binomialHalf(n: number, k: number): number {
  let probability = 0.5 ** n;
  for (let i = 0; i < k; i += 1) probability *= (n - i) / (i + 1);
  return probability;
}

function ascending(values: readonly number[]): number[] {
  if (values.length === 0) throw new RangeError('No values');
  return [...values].sort((a, b) => a - b);
}

function at(values: readonly number[], index: number): number {
  const value = values[index];
  if (value === undefined) throw new RangeError(`No value ${index} of ${values.length}`);
  return value;
}
