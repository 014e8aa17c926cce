import { UnauthorizedException } from '@nestjs/common';

export interface NameAnswer {
  readonly name: string;
}

export interface CountAnswer {
  /** Writes of this session so far. */
  readonly count: number;
}

/** A session that was lost must not pass for a fast answer. */
export function nameAnswer(name: unknown): NameAnswer {
  if (typeof name !== 'string') throw new UnauthorizedException();
  return { name };
}

export function visitorAnswer(name: unknown): { readonly known: boolean } {
  return { known: name !== undefined };
}
