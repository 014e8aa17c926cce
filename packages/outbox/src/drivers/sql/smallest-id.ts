/** The smallest UUIDv7 of a time. A local clock that runs behind narrows a search by it; what it leaves out comes later. */
export function smallestIdOf(epochMs: number): string {
  const hex = Math.max(epochMs, 0).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}
