/** Pieces by SKU. */
export type CartLines = Readonly<Record<string, number>>;

export interface CartLine {
  readonly sku: string;
  readonly qty: number;
}

export const MAX_PIECES = 100;
export const MAX_LINES = 50;

/**
 * The lines after pieces were added to them, or taken where there are less than 0 of them. Undefined where `isStrict`
 * and that exceeds what a cart holds; else as much is added as fits.
 */
export function changedLines(lines: CartLines, pieces: CartLines, isStrict: boolean): CartLines | undefined {
  const changed = new Map(Object.entries(lines));
  for (const [sku, more] of Object.entries(pieces)) {
    const wanted = (changed.get(sku) ?? 0) + more;
    const hasRoom = changed.has(sku) || changed.size < MAX_LINES;
    if (isStrict && (wanted > MAX_PIECES || (wanted > 0 && !hasRoom))) return undefined;
    if (wanted <= 0) changed.delete(sku);
    else if (hasRoom) changed.set(sku, Math.min(wanted, MAX_PIECES));
  }
  return Object.fromEntries(changed);
}

export function lineList(lines: CartLines): readonly CartLine[] {
  return Object.entries(lines)
    .map(([sku, qty]) => ({ sku, qty }))
    .sort((a, b) => (a.sku < b.sku ? -1 : 1));
}
