import { inspect } from 'node:util';
import { LockstepError } from './lockstep-error.js';

/** The program is put together wrongly: a bad option, a missing module, guarantees in an order that protects nothing. */
export class ConfigurationError extends LockstepError {
  constructor(message: string, cause?: unknown) {
    super({ code: 'CONFIGURATION_INVALID', kind: 'misuse', message, cause });
  }

  /** An option whose value is not allowed; the message names both. */
  static option(option: string, value: unknown, expected: string): ConfigurationError {
    return new ConfigurationError(`Option '${option}' is ${inspect(value, { depth: 1 })}; expected ${expected}.`);
  }
}
