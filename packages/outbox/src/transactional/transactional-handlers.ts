import { ConfigurationError } from '@lockstep/core';
import { Injectable } from '@nestjs/common';
import type { FailureNotice } from '../failure-notice.js';
import { checkedName, OWN_TOPICS } from '../message-names.js';
import type { CheckAnswer } from './prepared-message-store.js';

/** Tells how the local work of a message ended; `unknown` when that cannot be said yet. */
export type Check = (messageId: string, body: never) => Promise<CheckAnswer>;

/** Undoes what a message was about, in the current transaction; called once for every consumer that gave it up. */
export type Compensator = (body: never, notice: FailureNotice) => Promise<unknown>;

/** A function with the name by which half messages and headers refer to it, in all processes and versions. */
export interface Named<Fn> {
  readonly name: string;
  readonly run: Fn;
}

/** The checks and compensators of this process. */
@Injectable()
export class TransactionalHandlers {
  private readonly checks = new Map<string, Check>();
  private readonly compensators = new Map<string, Compensator>();

  addCheck({ name, run }: Named<Check>): void {
    if (typeof name !== 'string' || name.length < 1 || name.length > 200) {
      throw ConfigurationError.option('check', name, 'a name of 1 to 200 characters');
    }
    addOnce(this.checks, 'check', name, run);
  }

  addCompensator({ name, run }: Named<Compensator>): void {
    if (checkedName(name, 'compensator').startsWith(OWN_TOPICS)) {
      throw ConfigurationError.option('compensator', name, `no name below '${OWN_TOPICS}'`);
    }
    addOnce(this.compensators, 'compensator', name, run);
  }

  checkOf(name: string): Check | undefined {
    return this.checks.get(name);
  }

  compensatorOf(name: string): Compensator | undefined {
    return this.compensators.get(name);
  }

  allCompensators(): readonly Named<Compensator>[] {
    return [...this.compensators].map(([name, run]) => ({ name, run }));
  }
}

function addOnce<Fn>(map: Map<string, Fn>, what: string, name: string, run: Fn): void {
  if (typeof run !== 'function') throw ConfigurationError.option(`${what} ${name}`, run, 'a function');
  if (map.has(name)) throw new ConfigurationError(`There are two of the ${what} '${name}'; its name must tell which.`);
  map.set(name, run);
}
