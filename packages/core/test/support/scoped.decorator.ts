import { AsyncLocalStorage } from 'node:async_hooks';
import {
  attachGuarantee,
  type CallOutcome,
  type CallScope,
  CoreModule,
  type Guarantee,
  type GuaranteeDecorator,
  type StreamCall,
  type StreamMethod,
} from '@lockstep/core';
import { Global, Injectable, Module } from '@nestjs/common';

/** A runtime that notes what it was asked for, and lets a test decide what it answers. */
@Injectable()
export class Scopes {
  readonly events: string[] = [];
  readonly outcomes: CallOutcome[] = [];
  onOpen: (call: StreamCall) => Promise<void> = async () => undefined;
  onClose: (outcome: CallOutcome) => Promise<void> = async () => undefined;

  async open(call: StreamCall, name: string): Promise<CallScope> {
    this.events.push(`open ${name}`);
    await this.onOpen(call);
    return {
      run: (fn) => inScope.run(name, fn),
      close: async (outcome) => {
        this.events.push(`close ${name}`);
        this.outcomes.push(outcome);
        await this.onClose(outcome);
      },
    };
  }
}

/** The name of the scope that the running code is in. */
export const inScope = new AsyncLocalStorage<string>();

const SCOPED: Guarantee<Scopes> = { name: 'Scoped', layer: 'lock', runtime: Scopes, module: 'ScopesModule' };

/** Stands around methods of every form. */
export function Scoped(name = 'scope', returns?: 'observable'): GuaranteeDecorator<() => unknown, StreamMethod> {
  return (target, property, descriptor) =>
    attachGuarantee(target, property, descriptor, SCOPED, {
      returns,
      around: async (scopes, call) => {
        scopes.events.push(`around ${name}`);
        return call.proceed();
      },
      open: (scopes, call) => scopes.open(call, name),
    });
}

@Global()
@Module({ imports: [CoreModule], providers: [Scopes], exports: [Scopes] })
export class ScopesModule {}
