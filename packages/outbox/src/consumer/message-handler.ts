import { Inject, Injectable } from '@nestjs/common';
import { ExternalContextCreator } from '@nestjs/core';
import type { Message } from '../message.js';
import type { MessageRoute } from '../message-transport.js';
import { MESSAGE_ARGS, MessageParamsFactory } from './message-params.js';
import type { HandlerMark } from './on-message.decorator.js';
import type { ResolvedOnMessageOptions } from './on-message.options.js';

const CONTEXT_TYPE = 'lockstep-message';

/** A method with `@OnMessage`, ready to be called. */
export interface MessageHandler {
  readonly route: MessageRoute;
  /** `PointsService.grant`, for logs and spans. */
  readonly name: string;
  readonly options: ResolvedOnMessageOptions;
  /**
   * Guards, pipes, interceptors, the method. Given one message at a time, unless it takes batches. Rejects with what any
   * of them threw; resolves with a result for each message.
   */
  invoke(messages: readonly Message[]): Promise<readonly unknown[]>;
  /** Shows an error to the filters. Resolves with what they threw instead, or with the error itself. */
  filter(messages: readonly Message[], error: unknown): Promise<unknown>;
}

type Method = (...args: unknown[]) => unknown;

/** Builds handlers by Nest's own means. */
@Injectable()
export class MessageHandlerFactory {
  private readonly params = new MessageParamsFactory();

  constructor(@Inject(ExternalContextCreator) private readonly contexts: ExternalContextCreator) {}

  create(instance: object, method: Method, property: string, { topic, options }: HandlerMark): MessageHandler {
    const run = this.context(instance, method, property, { guards: true, interceptors: true, filters: false });
    // Filters on their own: inside of the handler's context, one that returns something would turn the failure into a
    // success, and a half-done transaction would be committed. Another name, because the arguments are other ones.
    const show = this.context(instance, rethrowOf(method), `${property}:filters`, {
      guards: false,
      interceptors: false,
      filters: true,
    });
    return {
      route: { topic, consumer: options.consumer },
      name: `${instance.constructor.name}.${property}`,
      options,
      invoke: async ([message]) => [await run(message?.body, message)],
      filter: async ([message], error) => {
        try {
          await show(message?.body, message, error);
          return error;
        } catch (thrown) {
          return thrown;
        }
      },
    };
  }

  private context(
    instance: object,
    callback: Method,
    property: string,
    options: { guards: boolean; interceptors: boolean; filters: boolean },
  ): (...args: unknown[]) => Promise<unknown> {
    return this.contexts.create(
      instance as Record<string, Method>,
      callback,
      property,
      MESSAGE_ARGS,
      this.params,
      undefined,
      undefined,
      options,
      CONTEXT_TYPE,
    );
  }
}

/** Throws its third argument, and has the filters of `method`. */
function rethrowOf(method: Method): Method {
  const rethrow = (_body: unknown, _message: unknown, error: unknown): never => {
    throw error;
  };
  for (const key of Reflect.getOwnMetadataKeys(method)) {
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, method), rethrow);
  }
  return rethrow;
}
