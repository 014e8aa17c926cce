import { pathToRegexp } from 'path-to-regexp';

/** How a framework compares paths. */
export interface PathManners {
  readonly isCaseSensitive: boolean;
  /** Whether `/a/` is another path than `/a`. */
  readonly isStrict: boolean;
}

/** Of a segment: the smaller, the more specific. */
type Rank = 0 | 1 | 2;

const SPECIAL = /[*:{}()?+![\]\\]/;

/** A path as controllers write it, with parameters, wildcards and optional parts. */
export class RoutePattern {
  private readonly exact: RegExp | undefined;
  private readonly loose: RegExp;
  private readonly ranks: readonly Rank[];

  constructor(path: string, { isCaseSensitive, isStrict }: PathManners) {
    const converted = withNamedWildcards(path);
    this.ranks = converted.split('/').slice(1).map(rankOf);
    try {
      this.exact = pathToRegexp(converted, { sensitive: isCaseSensitive, trailing: !isStrict }).regexp;
      this.loose = pathToRegexp(converted).regexp;
    } catch {
      // A form that one framework alone understands: it may be reached by whatever begins as it does.
      this.exact = undefined;
      this.loose = new RegExp(`^${path.split(SPECIAL)[0]?.replace(/[.$^|]/g, '\\$&') ?? ''}`, 'i');
    }
  }

  matches(path: string): boolean {
    return this.exact?.test(path) === true;
  }

  /** Whether it might match, whatever the framework thinks of case and slashes. */
  mayMatch(path: string): boolean {
    return this.loose.test(path);
  }

  /** Whether a router that prefers text to parameters, and those to wildcards, prefers it where both match. */
  isPreferredTo(other: RoutePattern): boolean {
    const length = Math.max(this.ranks.length, other.ranks.length);
    for (let index = 0; index < length; index += 1) {
      const own = this.ranks[index];
      const their = other.ranks[index];
      if (own === their) continue;
      if (own === undefined || their === undefined) return own === undefined && their === 2;
      return own < their;
    }
    return false;
  }
}

/** Wildcards without a name, as they were written before: Nest converts them in the same way. */
function withNamedWildcards(path: string): string {
  return path
    .replace(/\/(?:\*|\(\.\*\))\/?$/, '/{*path}')
    .replace(/\/\*(?=\/)/g, (_match, offset: number) => `/*path${offset}`);
}

function rankOf(segment: string): Rank {
  if (/[*{}]/.test(segment)) return 2;
  return segment.includes(':') ? 1 : 0;
}
