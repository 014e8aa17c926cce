import { Inject, Injectable } from '@nestjs/common';
import { ApplicationConfig, ExternalContextCreator } from '@nestjs/core';
import type { Message } from '../message.js';
import type { MessageRoute } from '../message-transport.js';
import { BODY_PARAM, MESSAGE_ARGS, MessageParamsFactory } from './message-params.js';
import type { HandlerMark } from './on-message.decorator.js';
import type { ResolvedOnMessageOptions } from './on-message.options.js';

/** Nest's own name. */
const PIPES_METADATA = '__pipes__';
const CONTEXT_TYPE = 'lockstep-message';

/** A method with `@OnMessage`, ready to be called. */
export interface MessageHandler {
  readonly route: MessageRoute;
  /** `PointsService.grant`, for logs and spans. */
  readonly name: string;
  readonly options: ResolvedOnMessageOptions;
  /**
   * Guards, pipes, interceptors, the method. Given one message at a time, unless it takes batches. Rejects with what any
   * of them threw; resolves with a result for each message, or without any.
   */
  invoke(messages: readonly Message[]): Promise<readonly unknown[] | undefined>;
  /** Shows an error to the filters. Resolves with what they threw instead, or with the error itself. */
  filter(messages: readonly Message[], error: unknown): Promise<unknown>;
}

type Method = (...args: unknown[]) => unknown;

interface Parts {
  readonly guards: boolean;
  readonly interceptors: boolean;
  readonly filters: boolean;
}

const GUARDS_AND_INTERCEPTORS: Parts = { guards: true, interceptors: true, filters: false };
const FILTERS: Parts = { guards: false, interceptors: false, filters: true };
const NOTHING_BUT_PIPES: Parts = { guards: false, interceptors: false, filters: false };

/** Builds handlers by Nest's own means. */
@Injectable()
export class MessageHandlerFactory {
  private readonly params = new MessageParamsFactory();

  constructor(
    @Inject(ExternalContextCreator) private readonly contexts: ExternalContextCreator,
    @Inject(ApplicationConfig) private readonly config: ApplicationConfig,
  ) {}

  create(instance: object, method: Method, property: string, { topic, options }: HandlerMark): MessageHandler {
    // Filters on their own: inside of the handler's context, one that returns something would turn the failure into a
    // success, and a half-done transaction would be committed. Another name, because the arguments are other ones.
    const show = this.context(instance, dressedAs(method, rethrow), `${property}:filters`, FILTERS);
    return {
      route: { topic, consumer: options.consumer },
      name: `${instance.constructor.name}.${property}`,
      options,
      invoke: options.batch ? this.batch(instance, method, property) : this.single(instance, method, property),
      filter: async (messages, error) => {
        try {
          await show(...argumentsOf(messages, options.batch), error);
          return error;
        } catch (thrown) {
          return thrown;
        }
      },
    };
  }

  private single(instance: object, method: Method, property: string): MessageHandler['invoke'] {
    const run = this.context(instance, method, property, GUARDS_AND_INTERCEPTORS);
    return async (messages) => [await run(...argumentsOf(messages, false))];
  }

  /** Nest would give the whole list to pipes that are made for a body, so they are applied inside, to one at a time. */
  private batch(instance: object, method: Method, property: string): MessageHandler['invoke'] {
    const callback = this.hasPipes(instance, method) ? this.piping(instance, method, property) : method;
    const dressed = dressedAs(method, callback.bind(instance));
    const run = this.context(instance, dressed, `${property}:batch`, GUARDS_AND_INTERCEPTORS);
    return async (messages) => (await run(...argumentsOf(messages, true))) as readonly unknown[] | undefined;
  }

  /** Without any, Nest would still spend more on each message than a handler does. */
  private hasPipes(instance: object, method: Method): boolean {
    const { config } = this;
    return (
      config.getGlobalPipes().length + config.getGlobalRequestPipes().length > 0 ||
      Reflect.hasMetadata(PIPES_METADATA, method) ||
      Reflect.hasMetadata(PIPES_METADATA, instance.constructor)
    );
  }

  private piping(instance: object, method: Method, property: string): Method {
    const piped = `${property}:body`;
    Reflect.defineMetadata(MESSAGE_ARGS, bodyAlone(), instance.constructor, piped);
    const pipe = this.context(instance, dressedAs(method, itself), piped, NOTHING_BUT_PIPES);
    return async (bodies, messages) => {
      const results: unknown[] = [];
      for (const body of bodies as readonly unknown[]) results.push(await pipe(body));
      return method.call(instance, results, messages);
    };
  }

  private context(
    instance: object,
    callback: Method,
    property: string,
    options: Parts,
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

function argumentsOf(messages: readonly Message[], batch: boolean): readonly [unknown, unknown] {
  const [message] = messages;
  return batch ? [messages.map(({ body }) => body), messages] : [message?.body, message];
}

function bodyAlone(): object {
  return { [`${BODY_PARAM}:0`]: { index: 0, pipes: [] } };
}

const itself: Method = (value) => value;

const rethrow: Method = (_body, _message, error): never => {
  throw error;
};

/** `standIn` with the name, and the guards, pipes, interceptors and filters, of `method`. */
function dressedAs(method: Method, standIn: Method): Method {
  const dressed: Method = (...args) => standIn(...args);
  Object.defineProperty(dressed, 'name', { value: method.name, configurable: true });
  for (const key of Reflect.getOwnMetadataKeys(method)) {
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, method), dressed);
  }
  return dressed;
}
