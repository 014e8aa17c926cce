// Their own type packages bring those of Express 4 along, of which these two need nothing.
declare module 'passport' {
  type Done = (error?: unknown) => void;
  type Middleware = (request: unknown, response: unknown, next: Done) => void;
  const passport: { session(): Middleware; authenticate(strategy: string): Middleware };
  export default passport;
}

declare module 'passport-local' {
  export const Strategy: new (...args: unknown[]) => object;
}
