import type { AsyncMethod, FitsMethod } from '@lockstep/core';

/** Text from the arguments of the call. */
export type TextOfCall = (...args: never[]) => string;

/** Whose key it is. */
export type ScopeOfCall = TextOfCall | 'global';

/** Data from the arguments of the call. */
export type DataOfCall = (...args: never[]) => unknown;

/** How a result becomes text and the same result again. Neither may throw for a result of the method. */
export interface ResultCodec<Result> {
  encode(result: Result): string;
  decode(text: string): Result;
}

// biome-ignore lint/suspicious/noConfusingVoidType: it is what a method without a result promises
type Plain = string | number | boolean | null | undefined | void;

/** What JSON leaves out, empties or turns into something else. */
type Changed =
  | bigint
  | symbol
  | Date
  | Error
  | RegExp
  | ArrayBuffer
  | ArrayBufferView
  | ReadonlyMap<unknown, unknown>
  | ReadonlySet<unknown>
  | ((...args: never[]) => unknown);

/** An item that is missing from a list comes back as null; a property comes back missing. */
type Missing<Item> = unknown extends Item ? never : Extract<Item, undefined>;

/** Depth to which results are looked at, so that types which contain themselves come to an end. */
type Depth = readonly [1, 1, 1, 1, 1];

/**
 * What of a type would be another thing after JSON; `never` where nothing would. Of `any` and `unknown` nothing is known,
 * so they pass; an object with methods does not, because it comes back without them.
 */
export type ChangedByJson<T, Left extends readonly unknown[] = Depth> = unknown extends T
  ? never
  : Left extends readonly [unknown, ...infer Rest]
    ? T extends Plain
      ? never
      : T extends Changed
        ? T
        : T extends readonly (infer Item)[]
          ? ChangedByJson<Item, Rest> | Missing<Item>
          : T extends object
            ? { [Name in keyof T]-?: ChangedByJson<T[Name], Rest> }[keyof T]
            : T
    : never;

type FitsScope<Scope, Method extends AsyncMethod> = Scope extends 'global' ? unknown : FitsMethod<Scope, Method>;

/** `unknown` where the result comes back as it was, else a type that no descriptor has. */
type FitsJson<Method extends AsyncMethod> = [ChangedByJson<Awaited<ReturnType<Method>>>] extends [never]
  ? unknown
  : {
      readonly 'lockstep: JSON changes this in the result; return plain data, or give a codec': ChangedByJson<
        Awaited<ReturnType<Method>>
      >;
    };

type FitsCodec<Result, Method extends AsyncMethod> = [Awaited<ReturnType<Method>>, Result] extends [
  Result,
  Awaited<ReturnType<Method>>,
]
  ? unknown
  : { readonly 'lockstep: this codec is for another result than that of the decorated method': Result };

/** The decorator of a method whose repetitions get the result as JSON keeps it. */
export type IdempotentMethodDecorator<Key, Scope, Payload> = <Method extends AsyncMethod>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method> &
    FitsMethod<Key, Method> &
    FitsScope<Scope, Method> &
    FitsMethod<Payload, Method> &
    FitsJson<Method>,
) => void;

/** The decorator of a method whose repetitions get the result as a codec keeps it. */
export type EncodedMethodDecorator<Key, Scope, Payload, Result> = <Method extends AsyncMethod>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method> &
    FitsMethod<Key, Method> &
    FitsScope<Scope, Method> &
    FitsMethod<Payload, Method> &
    FitsCodec<Result, Method>,
) => void;
