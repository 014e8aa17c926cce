import { isQueuedJob } from './queued-job.js';

/**
 * What tells one call from another: all its arguments, but for what belongs to the delivery and differs when the same
 * message comes again. A job of BullMQ counts by its name and data; the token it is locked with, an AbortSignal and the
 * context of a Nest transport do not count. An argument that is left out is one that is undefined.
 */
export function payloadOfCall(args: readonly unknown[]): readonly unknown[] {
  const tokens = new Set(args.filter(isQueuedJob).map(({ token }) => token));
  const payload = args.map((arg) => {
    if (isQueuedJob(arg)) return [arg.name, arg.data ?? null];
    const isDelivery = arg instanceof AbortSignal || isTransportContext(arg);
    return isDelivery || (typeof arg === 'string' && tokens.has(arg)) ? undefined : arg;
  });
  return payload.slice(0, payload.findLastIndex((part) => part !== undefined) + 1);
}

/** `BaseRpcContext` of `@nestjs/microservices`. */
function isTransportContext(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return 'getArgByIndex' in value && typeof value.getArgByIndex === 'function' && 'getArgs' in value;
}
