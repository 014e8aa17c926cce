import type { DriverProvider } from '@lockstep/core';
import type { RelaySignal } from '../../relay-signal.js';

/** Tells nobody: a commit wakes the relay of its own process anyway, and others look every `sweepEvery`. */
export function inProcessRelaySignal(): DriverProvider<RelaySignal> {
  return { useFactory: () => ({ announce: () => undefined, subscribe: async () => async () => undefined }) };
}
