import type { IncomingHttpHeaders } from 'node:http';
import { ConfigurationError, checkKnown, type Duration, durationMs } from '@lockstep/core';
import { checkedSecrets } from '../notifications.options.js';

/** What Express and Fastify have in common. */
export interface WebhookHttpRequest {
  readonly headers: IncomingHttpHeaders;
  readonly params?: unknown;
  readonly url?: string;
}

/** Who should have signed a request. */
export interface WebhookSender {
  /** Whose ids these are: two senders may use the same ones. */
  readonly sender: string;
  readonly secrets: readonly string[];
}

interface Common {
  /** Of the receiver; what it has received is remembered under it. Letters, digits and `. _ : / -`, at most 100. */
  readonly name: string;
  /** By how much the sender's time may be wrong, in both directions. @default '5m' */
  readonly tolerance?: Duration;
}

interface FixedSecrets extends Common {
  /** `whsec_…`; with several, one of them must have signed. */
  readonly secrets: readonly string[];
  readonly secretsOf?: undefined;
}

interface SecretsByRequest<Request> extends Common {
  /** Finds the secrets for a request of which nothing is verified yet; undefined refuses it. */
  readonly secretsOf: (request: Request) => WebhookSender | undefined | Promise<WebhookSender | undefined>;
  readonly secrets?: undefined;
}

export type WebhookReceiverOptions<Request = WebhookHttpRequest> = FixedSecrets | SecretsByRequest<Request>;

export interface Receiver {
  readonly name: string;
  readonly toleranceMs: number;
  senderOf(request: unknown): Promise<WebhookSender | undefined>;
}

const NAME = /^[A-Za-z0-9_.:/-]{1,100}$/;
const DAY_MS = 86_400_000;

/** @throws ConfigurationError naming the option */
export function resolveWebhookReceiver<Request>(options: WebhookReceiverOptions<Request>): Receiver {
  checkKnown(options, '@WebhookReceiver', ['name', 'tolerance', 'secrets', 'secretsOf']);
  const { name, tolerance = '5m', secrets, secretsOf } = options;
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw ConfigurationError.option('@WebhookReceiver name', name, '1 to 100 letters, digits and . _ : / -');
  }
  if ((secrets === undefined) === (secretsOf === undefined)) {
    throw new ConfigurationError('@WebhookReceiver needs either secrets or secretsOf.');
  }
  const toleranceMs = durationMs(tolerance, '@WebhookReceiver tolerance', { minMs: 1_000, maxMs: DAY_MS });
  if (secretsOf === undefined) {
    const fixed = { sender: '', secrets: atLeastOne(checkedSecrets(secrets, '@WebhookReceiver secrets')) };
    return Object.freeze({ name, toleranceMs, senderOf: async () => fixed });
  }
  if (typeof secretsOf !== 'function') {
    throw ConfigurationError.option('@WebhookReceiver secretsOf', secretsOf, 'a function of the request');
  }
  return Object.freeze({
    name,
    toleranceMs,
    senderOf: async (request: unknown) => checkedSender(await secretsOf(request as Request)),
  });
}

function checkedSender(given: WebhookSender | undefined): WebhookSender | undefined {
  if (given === undefined) return undefined;
  if (typeof given.sender !== 'string') {
    throw new ConfigurationError('secretsOf of @WebhookReceiver must give a sender, as a text, and secrets.');
  }
  return { sender: given.sender, secrets: checkedSecrets(given.secrets, 'secretsOf(request).secrets') };
}

function atLeastOne(secrets: readonly string[]): readonly string[] {
  if (secrets.length > 0) return secrets;
  throw new ConfigurationError("Option '@WebhookReceiver secrets' is empty; nobody could sign.");
}
