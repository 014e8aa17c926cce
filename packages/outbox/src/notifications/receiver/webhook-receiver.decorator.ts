import { attachGuarantee, demandGuarantee, type Guarantee } from '@lockstep/core';
import { UseGuards, UseInterceptors } from '@nestjs/common';
import { markReceiver } from './receiver-mark.js';
import { WebhookReceiverGuard } from './webhook-receiver.guard.js';
import { WebhookReceiverInterceptor } from './webhook-receiver.interceptor.js';
import {
  resolveWebhookReceiver,
  type WebhookHttpRequest,
  type WebhookReceiverOptions,
} from './webhook-receiver.options.js';
import { WebhookReceivers } from './webhook-receivers.service.js';

type ReceivingMethod = (...args: never[]) => Promise<unknown>;

/** A copy is answered without a result. */
type MayGiveNothing<Method extends ReceivingMethod> =
  undefined extends Awaited<ReturnType<Method>>
    ? unknown
    : Awaited<ReturnType<Method>> extends undefined
      ? unknown
      : {
          readonly 'lockstep: a copy of a webhook has no result, so this method must be able to give undefined': Method;
        };

const WEBHOOK_RECEIVER: Guarantee<WebhookReceivers> = {
  name: 'WebhookReceiver',
  layer: 'transaction',
  runtime: WebhookReceivers,
  module: 'NotificationsModule.forRoot(…)',
};

/**
 * Receives webhooks of Standard Webhooks on a route of a controller: verifies signature and time over the bytes of the
 * request, and runs the method in a transaction that also holds the receipt. A copy is answered with success and without
 * running the method, for as long as `receiptRetention`; what fails is rolled back with its receipt and may come again.
 *
 * The application must keep raw bodies: `NestFactory.create(AppModule, { rawBody: true })`. Guards run as usual, those of
 * the method in the order of the decorators; pipes run after the verification and outside of the transaction. The method
 * must not answer by itself (`@Res()`), which would be before the commit.
 *
 * Breaks for effects outside of the transaction: they may be repeated.
 *
 * @throws WebhookUnverifiedError (401) whatever is wrong with the signature or time
 * @throws WebhookBusyError (409, `Retry-After`) for a copy of one that is being handled
 * @throws ConfigurationError on a wrong option, here; at boot when two methods have one name
 */
export function WebhookReceiver<Request = WebhookHttpRequest>(options: WebhookReceiverOptions<Request>) {
  const receiver = resolveWebhookReceiver(options);
  return <Method extends ReceivingMethod>(
    target: object,
    property: string | symbol,
    descriptor: TypedPropertyDescriptor<Method> & MayGiveNothing<Method>,
  ): void => {
    attachGuarantee(target, property, descriptor, WEBHOOK_RECEIVER, (receivers, call) =>
      receivers.handle(receiver, call),
    );
    demandGuarantee(target, property, {
      by: '@WebhookReceiver',
      guarantee: WEBHOOK_RECEIVER,
      verify: (receivers) => (receivers as WebhookReceivers).check(receiver),
    });
    if (descriptor.value) markReceiver(descriptor.value, receiver);
    UseGuards(WebhookReceiverGuard)(target, property, descriptor);
    UseInterceptors(WebhookReceiverInterceptor)(target, property, descriptor);
  };
}
