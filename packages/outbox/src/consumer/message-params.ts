/** Under this key Nest finds which arguments a handler takes, as it does for the routes of a controller. */
export const MESSAGE_ARGS = 'lockstep:message-args';

// Nest's own numbers: pipes are told 'body' for the one and 'custom' for the other, so ValidationPipe checks the body.
export const BODY_PARAM = 3;
export const MESSAGE_PARAM = 0;

/** Takes the arguments of a handler from those that it is called with. */
export class MessageParamsFactory {
  exchangeKeyForValue(type: number, _data: unknown, args: readonly unknown[]): unknown {
    return type === BODY_PARAM ? args[0] : args[1];
  }
}
