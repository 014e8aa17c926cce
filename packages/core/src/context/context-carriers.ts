import { Injectable } from '@nestjs/common';
import { ConfigurationError } from '../errors/configuration.error.js';
import type { CarriedHeaders, ContextCarrier } from './context-carrier.js';

/** All carriers of an application; packages register theirs, transports ask here. */
@Injectable()
export class ContextCarriers {
  private readonly carriers: ContextCarrier[] = [];

  /** @throws ConfigurationError when the name is taken */
  register(carrier: ContextCarrier): void {
    if (this.carriers.some(({ name }) => name === carrier.name)) {
      throw new ConfigurationError(`A context carrier named '${carrier.name}' is already registered.`);
    }
    this.carriers.push(carrier);
  }

  /** The headers that describe the current context. */
  inject(): CarriedHeaders {
    const headers: CarriedHeaders = {};
    for (const carrier of this.carriers) carrier.inject(headers);
    return headers;
  }

  /** Runs `fn` in the context that `headers` describe; the carrier registered first is outermost. */
  run<T>(headers: Readonly<CarriedHeaders>, fn: () => T): T {
    return this.carriers.reduceRight<() => T>((inner, carrier) => () => carrier.run(headers, inner), fn)();
  }
}
