import { Controller, Get, Header, Headers, Inject, Param, type Type } from '@nestjs/common';
import type { HeaderBag } from '../signing/webhook-signature.js';
import { type NotificationAnswer, NotificationQueries } from './notification-queries.service.js';

/** A controller at `path` that answers partners; a class of its own for each module, because Nest keeps the path on it. */
export function queryControllerAt(path: string): Type<unknown> {
  class NotificationQueryController {
    constructor(readonly queries: NotificationQueries) {}

    find(id: string, headers: HeaderBag): Promise<NotificationAnswer> {
      return this.queries.answer(id, headers);
    }
  }
  const { prototype } = NotificationQueryController;
  const descriptor = Object.getOwnPropertyDescriptor(prototype, 'find') as PropertyDescriptor;
  Inject(NotificationQueries)(NotificationQueryController, undefined, 0);
  Param('id')(prototype, 'find', 0);
  Headers()(prototype, 'find', 1);
  Get(':id')(prototype, 'find', descriptor);
  Header('Cache-Control', 'no-store')(prototype, 'find', descriptor);
  Controller(path)(NotificationQueryController);
  return NotificationQueryController;
}
