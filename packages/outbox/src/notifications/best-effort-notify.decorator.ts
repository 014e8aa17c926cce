import { type AsyncMethod, attachGuarantee, ConfigurationError, type Guarantee } from '@lockstep/core';
import { EVENT_TYPE_RULE, isEventType } from './event-type.js';
import { NotificationsService, type NotificationTarget } from './notifications.service.js';

interface Common<Result> {
  /** What happened: `order.shipped`. */
  readonly type: string;
  /** What the receiver is told; JSON. @default the result itself */
  readonly body?: (result: Result) => unknown;
  /** What the receiver tells copies by. @default a new UUID for each call */
  readonly id?: (result: Result) => string;
}

/** Undefined means that nobody is to be notified. */
type Where<Result> =
  | { readonly endpoint: string | ((result: Result) => string | undefined); readonly url?: undefined }
  | { readonly url: string | ((result: Result) => string | undefined); readonly endpoint?: undefined };

export type BestEffortNotifyOptions<Result> = Common<Result> & Where<Result>;

type WithBody<Result> = BestEffortNotifyOptions<Result> & Required<Pick<Common<Result>, 'body'>>;

/** A method without a result has nothing to say unless `body` says it. */
type SaysSomething<Method extends AsyncMethod> =
  undefined extends Awaited<ReturnType<Method>>
    ? {
        readonly 'lockstep: this method may give undefined, so @BestEffortNotify needs a body': Awaited<
          ReturnType<Method>
        >;
      }
    : unknown;

type MethodOf<Result> = (...args: never[]) => Promise<Result>;

const BEST_EFFORT_NOTIFY: Guarantee<NotificationsService> = {
  name: 'BestEffortNotify',
  layer: 'outbox',
  runtime: NotificationsService,
  module: 'NotificationsModule.forRoot(…)',
};

const NAMES = ['endpoint', 'url', 'type', 'body', 'id'];

/**
 * Notifies a partner of what the method did, as part of the transaction that the method runs in: the notification exists
 * exactly when that transaction commits. Stands inside of `@Transactional()`. Best effort: it is tried by the module's
 * schedule and then given up.
 *
 * What is told is what the method returns, or what `body` makes of it; a method that may return `undefined` needs a
 * `body`. `endpoint` or `url`, and `id`, may be functions of the result. The result itself passes unchanged.
 *
 * @throws TransactionRequiredError before the method runs, when there is no transaction
 * @throws NotificationInvalidError, EndpointUnknownError, NotificationConflictError as `notifications.send` does; the
 * transaction is rolled back by its owner
 */
export function BestEffortNotify<Result>(
  options: WithBody<Result>,
): <Method extends MethodOf<Result>>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;
export function BestEffortNotify<Result>(
  options: BestEffortNotifyOptions<Result>,
): <Method extends MethodOf<Result>>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method> & SaysSomething<Method>,
) => void;
export function BestEffortNotify(options: BestEffortNotifyOptions<never>) {
  const { type, body, id, endpoint, url } = checkedOptions(options);
  return (target: object, property: string | symbol, descriptor: PropertyDescriptor): void =>
    attachGuarantee(target, property, descriptor, BEST_EFFORT_NOTIFY, async (notifications, call) => {
      const tx = notifications.requireTransaction(`@BestEffortNotify on ${call.name}`);
      const result = await call.proceed();
      const where = targetOf(endpoint, url, result);
      if (!where) return result;
      const data = body ? body(result) : result;
      await notifications.send({ ...where, type, data, tx, ...(id ? { id: id(result) } : {}) });
      return result;
    });
}

function targetOf(
  endpoint: BestEffortNotifyOptions<unknown>['endpoint'],
  url: BestEffortNotifyOptions<unknown>['url'],
  result: unknown,
): NotificationTarget | undefined {
  const given = endpoint ?? url;
  const where = typeof given === 'function' ? given(result) : given;
  if (where === undefined) return undefined;
  return endpoint === undefined ? { url: where } : { endpoint: where };
}

function checkedOptions(options: BestEffortNotifyOptions<never>): BestEffortNotifyOptions<unknown> {
  const given = options as BestEffortNotifyOptions<unknown>;
  for (const [name, value] of Object.entries(given)) {
    if (!NAMES.includes(name)) {
      throw ConfigurationError.option(`@BestEffortNotify ${name}`, value, `no option but ${NAMES.join(', ')}`);
    }
  }
  const { type, body, id, endpoint, url } = given;
  if (!isEventType(type)) throw ConfigurationError.option('@BestEffortNotify type', type, EVENT_TYPE_RULE);
  if ((endpoint === undefined) === (url === undefined)) {
    throw new ConfigurationError('@BestEffortNotify needs either an endpoint or a url.');
  }
  const where = endpoint ?? url;
  if (typeof where !== 'string' && typeof where !== 'function') {
    throw ConfigurationError.option(
      '@BestEffortNotify endpoint',
      where,
      "a text, or a function of the method's result",
    );
  }
  for (const [name, value] of Object.entries({ body, id })) {
    if (value !== undefined && typeof value !== 'function') {
      throw ConfigurationError.option(`@BestEffortNotify ${name}`, value, "a function of the method's result");
    }
  }
  return given;
}
