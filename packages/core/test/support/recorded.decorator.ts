import {
  type AsyncMethod,
  attachGuarantee,
  type FitsMethod,
  type Guarantee,
  type GuaranteeDecorator,
  type GuaranteeLayer,
} from '@lockstep/core';
import { Injectable, type Type } from '@nestjs/common';

/** A runtime that keeps no promise: it notes what was asked of it. */
@Injectable()
export class Recorder {
  readonly calls: string[] = [];
}

export function recorded(layer: GuaranteeLayer, name: string, runtime: Type<Recorder> = Recorder): Guarantee<Recorder> {
  return { name, layer, runtime, module: 'RecorderModule' };
}

export const RECORDED = recorded('lock', 'Recorded');

/** Surrounds a method with any guarantee; the key, where one is given, is noted. */
export function Recorded<Fn extends (...args: never[]) => unknown = () => unknown>(
  options: { key?: Fn; guarantee?: Guarantee<Recorder> } = {},
): GuaranteeDecorator<Fn> {
  const guarantee = options.guarantee ?? RECORDED;
  return <Method extends AsyncMethod>(
    target: object,
    property: string | symbol,
    descriptor: TypedPropertyDescriptor<Method> & FitsMethod<Fn, Method>,
  ) =>
    attachGuarantee(target, property, descriptor, guarantee, async (recorder, call) => {
      const key = options.key ? `(${String(options.key(...(call.args as never[])))})` : '';
      recorder.calls.push(`${guarantee.name}:${call.name}${key}`);
      return call.proceed();
    });
}

/** What a plain JavaScript caller can do: no types in the way. */
export function recordedUnchecked(guarantee: Guarantee<Recorder> = RECORDED): PropertyDecorator & MethodDecorator {
  return ((target: object, property: string | symbol, descriptor: PropertyDescriptor) =>
    attachGuarantee(target, property, descriptor, guarantee, (recorder, call) => {
      recorder.calls.push(`${guarantee.name}:${call.name}`);
      return call.proceed();
    })) as PropertyDecorator & MethodDecorator;
}
