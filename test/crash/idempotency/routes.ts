import type { LeaseExpiryPolicy } from '@lockstep/idempotency';

export type RouteName = 'cautious' | 'patient' | 'recovered' | 'eager' | 'keen';

export interface Route {
  readonly policy: LeaseExpiryPolicy;
  /** Duplicates wait for the first answer. */
  readonly waits: boolean;
  /** A completer goes on with what was abandoned. */
  readonly completes: boolean;
  /** The bank books each step of a key once, and none under a fence lower than it has seen. */
  readonly isGuarded: boolean;
}

export const WAIT_MS = 2_000;

export const ROUTES: Readonly<Record<RouteName, Route>> = {
  cautious: { policy: 'uncertain', waits: false, completes: false, isGuarded: false },
  patient: { policy: 'uncertain', waits: true, completes: false, isGuarded: false },
  recovered: { policy: 'uncertain', waits: true, completes: true, isGuarded: true },
  eager: { policy: 'retry', waits: false, completes: false, isGuarded: true },
  keen: { policy: 'retry', waits: true, completes: false, isGuarded: true },
};

export const ROUTE_NAMES = Object.keys(ROUTES) as RouteName[];

/**
 * What the handler does: one charge; a charge and a shipment as steps; a refusal that is a final answer; a charge whose
 * outcome it then calls unknown.
 */
export type PlanKind = 'plain' | 'steps' | 'decline' | 'unknown';

/** The body of a request. */
export interface Order {
  readonly key: string;
  readonly route: RouteName;
  readonly kind: PlanKind;
  readonly amount: number;
  /** Between two effects. */
  readonly thinkMs: number;
}

/** When the request was sent, by the clock of the machine. */
export const SENT_AT = 'x-sent-at';
