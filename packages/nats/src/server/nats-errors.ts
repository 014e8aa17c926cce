import { JetStreamApiError } from '@nats-io/jetstream';
import {
  AuthorizationError,
  ClosedConnectionError,
  ConnectionError,
  DrainingConnectionError,
  PermissionViolationError,
  RequestError,
  TimeoutError,
  UserAuthenticationExpiredError,
} from '@nats-io/transport-node';

/** Numbers by which JetStream tells its refusals apart. */
export const API_ERROR = {
  notAvailable: 10_008,
  notLeader: 10_009,
  consumerNotFound: 10_014,
  insufficientResources: 10_023,
  notEnabledForAccount: 10_039,
  messageTooLarge: 10_054,
  streamExists: 10_058,
  /** The subject has a message, where none was expected. */
  wrongLastSequence: 10_071,
  notEnabled: 10_076,
  /** In a cluster: another message of the subject is under way, and may yet be lost. */
  lastSequenceUnknown: 10_164,
} as const;

/** What the server says for all streams alike, and may say otherwise a moment later. */
const JETSTREAM_AWAY: ReadonlySet<number> = new Set([
  API_ERROR.notAvailable,
  API_ERROR.notLeader,
  API_ERROR.insufficientResources,
  API_ERROR.notEnabledForAccount,
  API_ERROR.notEnabled,
  API_ERROR.lastSequenceUnknown,
]);

const CONNECTION_ERRORS = [
  AuthorizationError,
  ClosedConnectionError,
  ConnectionError,
  DrainingConnectionError,
  RequestError,
  TimeoutError,
  UserAuthenticationExpiredError,
] as const;

/** A command was not answered in its time. */
export class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError';

  constructor(timeoutMs: number) {
    super(`no answer within ${Math.round(timeoutMs)} ms`);
  }
}

/**
 * Whether the server could not be reached, did not answer or is not up: it would have failed for every route. What was
 * refused for its own sake, by a limit of one stream or a missing permission, is none, and neither is a fault of ours.
 */
export function isUnavailability(thrown: unknown): boolean {
  if (thrown instanceof NoAnswerError || hadNoResponders(thrown)) return true;
  if (thrown instanceof JetStreamApiError) return JETSTREAM_AWAY.has(thrown.code);
  return CONNECTION_ERRORS.some((kind) => thrown instanceof kind) && !isForbidden(thrown);
}

/** Whether nobody at the server listened: no such stream or consumer, or JetStream is not yet up. */
export function hadNoResponders(thrown: unknown): boolean {
  return causesOf(thrown).some((error) => error instanceof RequestError && error.isNoResponders());
}

export function isApiError(thrown: unknown, ...codes: readonly number[]): boolean {
  return thrown instanceof JetStreamApiError && (codes.length === 0 || codes.includes(thrown.code));
}

/** Whether a command surely had no effect: it was refused, or nobody was there to take it. */
export function isRefusal(thrown: unknown): boolean {
  return thrown instanceof JetStreamApiError || thrown instanceof ClosedConnectionError || hadNoResponders(thrown);
}

/** The client wraps what the server forbids like what did not reach it. */
function isForbidden(thrown: unknown): boolean {
  return causesOf(thrown).some((error) => error instanceof PermissionViolationError);
}

function causesOf(thrown: unknown): readonly Error[] {
  const causes: Error[] = [];
  for (let error = thrown; error instanceof Error; error = error.cause) causes.push(error);
  return causes;
}
