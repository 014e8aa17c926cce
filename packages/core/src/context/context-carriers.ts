import { Inject, Injectable } from '@nestjs/common';
import { ConfigurationError } from '../errors/configuration.error.js';
import { Incidents } from '../telemetry/incidents.js';
import type { CarriedHeaders, ContextCarrier } from './context-carrier.js';
import { RequestContext } from './request-context.js';

/**
 * All carriers of an application; packages register theirs, transports ask here. A carrier that throws is reported and
 * left out: context is worth less than the message.
 */
@Injectable()
export class ContextCarriers {
  private readonly carriers: ContextCarrier[] = [];

  constructor(@Inject(Incidents) private readonly incidents: Incidents) {}

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
    for (const carrier of this.carriers) {
      try {
        carrier.inject(headers);
      } catch (cause) {
        this.report(carrier, 'could not write its headers', cause);
      }
    }
    return headers;
  }

  /**
   * Runs `fn` once in the context that `headers` describe; the carrier registered first is outermost. The request
   * context is a new one: who was asking when the consumer was started must not be taken for who sent the message.
   */
  run<T>(headers: Readonly<CarriedHeaders>, fn: () => T): T {
    const inside = this.carriers.reduceRight<() => T>(
      (inner, carrier) => () => this.runOne(carrier, headers, inner),
      fn,
    );
    return RequestContext.run(new RequestContext(), inside);
  }

  /** What `fn` returned or threw stands, whatever the carrier does before or after. */
  private runOne<T>(carrier: ContextCarrier, headers: Readonly<CarriedHeaders>, fn: () => T): T {
    let outcome: (() => T) | undefined;
    try {
      return carrier.run(headers, () => {
        outcome = settle(fn);
        return outcome();
      });
    } catch (cause) {
      const settled = outcome as (() => T) | undefined;
      if (!settled) {
        this.report(carrier, 'could not restore the context', cause);
        return fn();
      }
      const result = settled();
      this.report(carrier, 'could not leave the context', cause);
      return result;
    }
  }

  private report(carrier: ContextCarrier, message: string, cause: unknown): void {
    this.incidents.report({
      code: 'CONTEXT_CARRIER_FAILED',
      source: 'core.context',
      message: `carrier ${carrier.name} ${message}`,
      cause,
    });
  }
}

/** Calls `fn` and returns what repeats its outcome. */
function settle<T>(fn: () => T): () => T {
  try {
    const value = fn();
    return () => value;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}
