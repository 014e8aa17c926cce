/** How often each name comes. */
export function countBy(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

export function printed(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([name, times]) => `${times} × ${name}`).join(', ') || 'none';
}
