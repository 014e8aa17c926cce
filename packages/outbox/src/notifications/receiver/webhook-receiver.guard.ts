import type { IncomingHttpHeaders } from 'node:http';
import { type CanActivate, type ExecutionContext, Inject, Injectable, Optional } from '@nestjs/common';
import { receiverOf } from './receiver-mark.js';
import { WebhookReceivers } from './webhook-receivers.service.js';

/** Before anything else looks at the request: pipes and interceptors only see what was signed. */
@Injectable()
export class WebhookReceiverGuard implements CanActivate {
  /** Optional, so that what Nest prints without the module is the controller's need, which says which module. */
  constructor(@Optional() @Inject(WebhookReceivers) private readonly receivers: WebhookReceivers) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<{ readonly headers: IncomingHttpHeaders }>();
    await this.receivers.verify(request, receiverOf(context.getHandler()));
    return true;
  }
}
