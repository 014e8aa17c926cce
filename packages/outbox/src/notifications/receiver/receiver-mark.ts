import { ConfigurationError } from '@lockstep/core';
import type { Receiver } from './webhook-receiver.options.js';

const RECEIVER = 'lockstep:webhook-receiver';

export function markReceiver(method: object, receiver: Receiver): void {
  Reflect.defineMetadata(RECEIVER, receiver, method);
}

export function receiverOf(method: object): Receiver {
  const receiver = Reflect.getOwnMetadata(RECEIVER, method) as Receiver | undefined;
  if (!receiver) throw new ConfigurationError('WebhookReceiverGuard belongs to @WebhookReceiver.');
  return receiver;
}
