import { channel } from 'node:diagnostics_channel';

const checkpoints = channel('lockstep:checkpoint');

/**
 * Marks a step between two effects, where a crash would matter. Costs one comparison while nobody listens. Tracing
 * tools may subscribe to the diagnostics channel `lockstep:checkpoint`; the crash tests do, and die at the named step.
 */
export function checkpoint(name: string, detail?: Readonly<Record<string, unknown>>): void {
  if (checkpoints.hasSubscribers) checkpoints.publish(detail === undefined ? { name } : { name, detail });
}
