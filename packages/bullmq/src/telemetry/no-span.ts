import type { Span } from 'bullmq';

/** Where there is nobody to measure. */
export const NO_SPAN: Span<unknown> = Object.freeze({
  setSpanOnContext: (context: unknown) => context,
  setAttribute: () => undefined,
  setAttributes: () => undefined,
  addEvent: () => undefined,
  recordException: () => undefined,
  end: () => undefined,
});
