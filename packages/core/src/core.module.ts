import {
  Global,
  Inject,
  type MiddlewareConsumer,
  Module,
  type NestModule,
  Optional,
  RequestMethod,
} from '@nestjs/common';
import { APP_FILTER, DiscoveryModule } from '@nestjs/core';
import { ContextCarriers } from './context/context-carriers.js';
import { PrincipalCarrier } from './context/principal.carrier.js';
import { RequestContextMiddleware } from './context/request-context.middleware.js';
import { TraceCarrier } from './context/trace.carrier.js';
import { CORE_OPTIONS, type ResolvedCoreOptions } from './core.options.js';
import { DrainService } from './drain/drain.service.js';
import { LockstepExceptionFilter } from './errors/lockstep-exception.filter.js';
import { GuaranteeExplorer } from './guarantee/guarantee.explorer.js';
import { RequestEntry } from './http/request-entry.js';
import { Incidents } from './telemetry/incidents.js';

/**
 * What every capability stands on. The capabilities import it; an application imports `LockstepModule.forRoot()` only
 * when it wants to set something.
 */
@Global()
@Module({
  imports: [DiscoveryModule],
  providers: [
    ContextCarriers,
    DrainService,
    GuaranteeExplorer,
    Incidents,
    RequestEntry,
    { provide: APP_FILTER, useClass: LockstepExceptionFilter },
  ],
  exports: [ContextCarriers, DrainService, Incidents, RequestEntry],
})
export class CoreModule implements NestModule {
  constructor(
    @Inject(ContextCarriers) carriers: ContextCarriers,
    @Inject(Incidents) incidents: Incidents,
    @Inject(RequestEntry) private readonly entry: RequestEntry,
    @Optional() @Inject(CORE_OPTIONS) options?: ResolvedCoreOptions,
  ) {
    carriers.register(new TraceCarrier());
    if (options?.keyring) carriers.register(new PrincipalCarrier(options.keyring, incidents));
  }

  configure(consumer: MiddlewareConsumer): void {
    if (this.entry.isInstalled) return;
    consumer.apply(RequestContextMiddleware).forRoutes({ path: '{*path}', method: RequestMethod.ALL });
  }
}
