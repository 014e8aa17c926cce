/** A list of changes that is read, changed and written back, as `change,change,…`; one for each contended key. */
export interface Register {
  readonly name: string;
  read(key: string, fence: bigint): Promise<string>;
  write(key: string, value: string, fence: bigint): Promise<void>;
}

export const REGISTER_TABLE =
  "CREATE TABLE register (id text PRIMARY KEY, value text NOT NULL DEFAULT '', fence bigint NOT NULL DEFAULT 0)";

/** The register without a fence: it must lose changes, or the others would prove nothing. */
export const CONTROL = 'control';

export function withChange(value: string, change: string): string {
  return value === '' ? change : `${value},${change}`;
}

/** What the register got wrong: changes that it confirmed and does not have, and those that it has twice. */
export function auditRegister(
  value: string,
  confirmed: readonly string[],
): { readonly lost: string[]; readonly doubled: string[] } {
  const changes = value === '' ? [] : value.split(',');
  const present = new Set(changes);
  return {
    lost: confirmed.filter((change) => !present.has(change)),
    doubled: changes.filter((change, index) => changes.indexOf(change) !== index),
  };
}
