import { inspect } from 'node:util';
import { LockstepError } from './lockstep-error.js';

/** Up to the last @ of a line: a password that was not escaped may hold one, and a slash too. */
const CREDENTIALS = /:\/\/.*@/g;

/** The program is put together wrongly: a bad option, a missing module, guarantees in an order that protects nothing. */
export class ConfigurationError extends LockstepError {
  constructor(message: string, cause?: unknown) {
    super({ code: 'CONFIGURATION_INVALID', kind: 'misuse', message, cause });
  }

  /** An option whose value is not allowed; the message names both, without the credentials of a URL. */
  static option(option: string, value: unknown, expected: string): ConfigurationError {
    const shown = inspect(value, { depth: 1 }).replace(CREDENTIALS, '://***@');
    return new ConfigurationError(`Option '${option}' is ${shown}; expected ${expected}.`);
  }
}
