import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
  Optional,
} from '@nestjs/common';
import { defer, lastValueFrom, type Observable } from 'rxjs';
import { WebhookReceivers } from './webhook-receivers.service.js';

/** Carries the verified webhook to the method, whose arguments do not show which request they came from. */
@Injectable()
export class WebhookReceiverInterceptor implements NestInterceptor {
  /** Optional, so that what Nest prints without the module is the controller's need, which says which module. */
  constructor(@Optional() @Inject(WebhookReceivers) private readonly receivers: WebhookReceivers) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const request = context.switchToHttp().getRequest<object>();
    return defer(() =>
      this.receivers.within(request, () => lastValueFrom(next.handle(), { defaultValue: undefined as unknown })),
    );
  }
}
