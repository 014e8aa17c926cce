import { CoreModule } from '@lockstep/core';
import {
  type DynamicModule,
  Inject,
  Module,
  type NestModule,
  type OnApplicationBootstrap,
  type OnModuleInit,
} from '@nestjs/common';
import { APP_INTERCEPTOR, ApplicationConfig, DiscoveryModule, HttpAdapterHost } from '@nestjs/core';
import { Completers } from './completion/completers.js';
import { CompletionService } from './completion/completion.service.js';
import { MessageConsumers } from './consumer/message-consumers.service.js';
import { IdempotentMutations } from './graphql/idempotent-mutations.js';
import { AnswerKeeper } from './http/answer-keeper.js';
import { IdempotencyInterceptor } from './http/idempotency.interceptor.js';
import { IdempotentRoutes } from './http/idempotent-routes.js';
import { assertOutermost, makeOutermost } from './http/outermost.js';
import { TransactionalExchange } from './http/transactional-exchange.js';
import {
  type ASYNC_OPTIONS_TYPE,
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
  type OPTIONS_TYPE,
} from './idempotency.module-definition.js';
import { checkOptions, IDEMPOTENCY_OPTIONS, resolveIdempotencyOptions } from './idempotency.options.js';
import { IdempotencyService } from './idempotency.service.js';
import { IDEMPOTENCY_STORE } from './idempotency-store.js';
import { KeyedMethods } from './method/keyed-methods.js';
import { OperationRunner } from './operation-runner.js';
import { IdempotencyTokens } from './tokens/idempotency-tokens.service.js';
import { TokenIssueInterceptor } from './tokens/token-issue.interceptor.js';

/** `@Idempotent`, tokens, and {@link IdempotencyService}. Import it once, in the root module. */
@Module({
  imports: [CoreModule, DiscoveryModule],
  providers: [
    { provide: IDEMPOTENCY_OPTIONS, inject: [MODULE_OPTIONS_TOKEN], useFactory: resolveIdempotencyOptions },
    IdempotencyService,
    OperationRunner,
    MessageConsumers,
    Completers,
    CompletionService,
    IdempotencyTokens,
    IdempotentRoutes,
    IdempotentMutations,
    KeyedMethods,
    AnswerKeeper,
    TransactionalExchange,
    IdempotencyInterceptor,
    TokenIssueInterceptor,
    { provide: APP_INTERCEPTOR, useExisting: IdempotencyInterceptor },
  ],
  exports: [IdempotencyService, IdempotencyTokens, OperationRunner, MessageConsumers, IDEMPOTENCY_STORE],
})
export class IdempotencyModule
  extends ConfigurableModuleClass
  implements NestModule, OnModuleInit, OnApplicationBootstrap
{
  constructor(
    @Inject(ApplicationConfig) private readonly config: ApplicationConfig,
    @Inject(IdempotencyInterceptor) private readonly interceptor: IdempotencyInterceptor,
    @Inject(TokenIssueInterceptor) private readonly issuing: TokenIssueInterceptor,
    @Inject(IdempotentRoutes) private readonly routes: IdempotentRoutes,
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
  ) {
    super();
  }

  /** @throws ConfigurationError without options, or with a store that is no driver */
  static override forRoot(options: typeof OPTIONS_TYPE): DynamicModule {
    checkOptions(options);
    // biome-ignore lint/complexity/noThisInStatic: the definition names the class that it is asked of
    return super.forRoot(options);
  }

  /** @throws ConfigurationError without options, or with a store that is no driver */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    checkOptions(options);
    // biome-ignore lint/complexity/noThisInStatic: the definition names the class that it is asked of
    return super.forRootAsync(options);
  }

  /** The last moment before Nest makes the routes. There is no middleware to configure. */
  configure(): void {
    this.routes.check();
    // Only where it has work: every request of the application would pass it.
    if (this.routes.isIssuing) makeOutermost(this.config, this.issuing);
    makeOutermost(this.config, this.interceptor);
  }

  /** Also of an application without HTTP, which configures nothing. */
  onModuleInit(): void {
    this.routes.check();
  }

  onApplicationBootstrap(): void {
    if (this.adapterHost.httpAdapter) assertOutermost(this.config, this.interceptor);
  }
}
