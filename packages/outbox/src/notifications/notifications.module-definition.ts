import { ConfigurationError, checkedDriver, checkKnown, type DriverProvider } from '@lockstep/core';
import { ConfigurableModuleBuilder } from '@nestjs/common';
import { memoryNotificationStore } from './drivers/memory/memory-notification-store.js';
import { NOTIFICATION_STORE, type NotificationStore } from './notification-store.js';
import { type NotificationsModuleOptions } from './notifications.options.js';
import { queryControllerAt } from './query/notification-query.controller.js';

/** What is given at once, also where the other options come later. */
export interface NotificationsModuleExtras {
  /** Where notifications stand. @default memoryNotificationStore() */
  readonly store?: DriverProvider<NotificationStore>;
  /** Lets partners ask how a notification of theirs stands, by `GET {path}/:id`. @default no such route */
  readonly query?: { readonly path: string } | undefined;
}

const EXTRAS: Required<NotificationsModuleExtras> = { store: memoryNotificationStore(), query: undefined };
const PATH = /^[A-Za-z0-9_~.-]+(?:\/[A-Za-z0-9_~.-]+)*$/;

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } =
  new ConfigurableModuleBuilder<NotificationsModuleOptions>({ moduleName: 'Notifications' })
    .setClassMethodName('forRoot')
    // Those named here stay out of the options, where they would come too late and are refused.
    .setExtras<Required<NotificationsModuleExtras>>(EXTRAS, (definition, { store, query }) => ({
      ...definition,
      global: true,
      controllers: [
        ...(definition.controllers ?? []),
        ...(query === undefined ? [] : [queryControllerAt(checkedPath(query))]),
      ],
      providers: [...(definition.providers ?? []), { provide: NOTIFICATION_STORE, ...checkedDriver('store', store) }],
    }))
    .build();

function checkedPath(query: NonNullable<NotificationsModuleExtras['query']>): string {
  checkKnown(query, 'query', ['path']);
  if (typeof query.path === 'string' && PATH.test(query.path)) return query.path;
  throw ConfigurationError.option(
    'query.path',
    query.path,
    "a path such as 'notifications', without a slash at its ends",
  );
}
