import type { CarriedHeaders, ContextCarrier } from './context-carrier.js';
import type { Keyring } from './keyring.js';
import { type Principal, RequestContext } from './request-context.js';

const HEADER = 'Lockstep-Principal';
const SIGNATURE = 'Lockstep-Principal-Signature';
const PURPOSE = 'principal';
const MAX_HEADER_CHARS = 1_024;

/** Carries who is asking, signed: a worker acts for the user whose request made the message, and for nobody else. */
export class PrincipalCarrier implements ContextCarrier {
  readonly name = 'principal';

  constructor(private readonly keyring: Keyring) {}

  inject(headers: CarriedHeaders): void {
    const principal = RequestContext.current()?.principal;
    if (!principal) return;
    const payload = JSON.stringify(principal);
    if (payload.length > MAX_HEADER_CHARS) return;
    headers[HEADER] = payload;
    headers[SIGNATURE] = this.keyring.sign(PURPOSE, payload);
  }

  run<T>(headers: Readonly<CarriedHeaders>, fn: () => T): T {
    const principal = this.verified(headers);
    if (!principal) return fn();
    const context = new RequestContext(RequestContext.current()?.id);
    context.principal = principal;
    return RequestContext.run(context, fn);
  }

  private verified(headers: Readonly<CarriedHeaders>): Principal | undefined {
    const payload = headers[HEADER];
    const signature = headers[SIGNATURE];
    if (payload === undefined || signature === undefined) return undefined;
    return this.keyring.verify(PURPOSE, payload, signature) ? (JSON.parse(payload) as Principal) : undefined;
  }
}
