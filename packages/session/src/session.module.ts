import { ConfigurationError, CoreModule, RequestEntry } from '@lockstep/core';
import { Inject, Module } from '@nestjs/common';
import { type AbstractHttpAdapter, DiscoveryModule, HttpAdapterHost } from '@nestjs/core';
import { installSessionProperty } from './http/request-property.js';
import { RequestProtection } from './http/request-protection.js';
import { RouteRules } from './http/route-rules.js';
import { SessionEntry } from './http/session-entry.js';
import { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } from './session.module-definition.js';
import { resolveSessionOptions, SESSION_OPTIONS } from './session.options.js';
import { SessionService } from './session.service.js';
import { SESSION_STORE } from './session-store.js';

/** One for each application. */
const entries = new WeakSet<RequestEntry>();

/** Sessions of HTTP requests, and {@link SessionService}. Import it once, in the root module. */
@Module({
  imports: [CoreModule, DiscoveryModule],
  providers: [
    { provide: SESSION_OPTIONS, inject: [MODULE_OPTIONS_TOKEN], useFactory: resolveSessionOptions },
    SessionService,
    RouteRules,
  ],
  exports: [SessionService, SESSION_STORE],
})
export class SessionModule extends ConfigurableModuleClass {
  constructor(
    @Inject(RequestEntry) entry: RequestEntry,
    @Inject(SessionService) service: SessionService,
    @Inject(RouteRules) rules: RouteRules,
    @Inject(HttpAdapterHost) host: HttpAdapterHost,
  ) {
    super();
    if (entries.has(entry)) {
      throw new ConfigurationError('SessionModule is imported twice: call forRoot() once, in the root module.');
    }
    entries.add(entry);
    const protection = new RequestProtection();
    const sessions = new SessionEntry(service, rules, protection);
    entry.add((exchange, context, request) => sessions.enter(exchange, context, request));
    const install = (adapter: AbstractHttpAdapter): void => {
      installSessionProperty(adapter);
      protection.watch(adapter);
    };
    // An application made by TestingModule gets its adapter after its modules.
    if (host.httpAdapter) install(host.httpAdapter);
    else host.init$.subscribe(() => host.httpAdapter && install(host.httpAdapter));
  }
}
