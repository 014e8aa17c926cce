const NOBODY = 65_534;

/** The user to run a server as that refuses root: `nobody` when we are root, undefined when we are not. */
export function unprivilegedUserId(): number | undefined {
  return process.getuid?.() === 0 ? NOBODY : undefined;
}
