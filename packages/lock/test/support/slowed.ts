import type { FaultProxy } from '@lockstep/testing';

/** Lets everything pass so much later, each way, until the returned function is called. @param usualMs the delay then */
export async function slowed(proxies: readonly FaultProxy[], ms: number, usualMs = 0): Promise<() => Promise<void>> {
  for (const proxy of proxies) proxy.delay(ms);
  return async () => {
    for (const proxy of proxies) proxy.delay(usualMs);
  };
}
