import type { Incidents } from '../telemetry/incidents.js';
import type { CarriedHeaders, ContextCarrier } from './context-carrier.js';
import type { Keyring } from './keyring.js';
import { type Principal, RequestContext } from './request-context.js';

const HEADER = 'Lockstep-Principal';
const SIGNATURE = 'Lockstep-Principal-Signature';
const PURPOSE = 'principal';
const MAX_HEADER_CHARS = 1_024;

/**
 * Carries who is asking, signed: a worker acts for the user whose request made the message, and for nobody else. The
 * header is base64url of JSON, so that it also passes where only ASCII does.
 */
export class PrincipalCarrier implements ContextCarrier {
  readonly name = 'principal';

  constructor(
    private readonly keyring: Keyring,
    private readonly incidents: Incidents,
  ) {}

  inject(headers: CarriedHeaders): void {
    const principal = RequestContext.current()?.principal;
    if (!principal) return;
    const payload = Buffer.from(JSON.stringify(principal)).toString('base64url');
    if (payload.length > MAX_HEADER_CHARS) {
      this.report('PRINCIPAL_TOO_LARGE', `a principal of ${payload.length} characters was not sent along`);
      return;
    }
    headers[HEADER] = payload;
    headers[SIGNATURE] = this.keyring.sign(PURPOSE, payload);
  }

  run<T>(headers: Readonly<CarriedHeaders>, fn: () => T): T {
    const principal = this.verified(headers[HEADER], headers[SIGNATURE]);
    if (!principal) return fn();
    const context = new RequestContext(RequestContext.current()?.id);
    context.principal = principal;
    return RequestContext.run(context, fn);
  }

  /** Nothing is parsed before it is proven: the types of headers from outside are a hope. */
  private verified(payload: unknown, signature: unknown): Principal | undefined {
    if (payload === undefined && signature === undefined) return undefined;
    if (!isHeader(payload) || !isHeader(signature) || !this.keyring.verify(PURPOSE, payload, signature)) {
      this.report('PRINCIPAL_NOT_PROVEN', 'a message named a principal without a valid signature; it was ignored');
      return undefined;
    }
    return Object.freeze(JSON.parse(Buffer.from(payload, 'base64url').toString()) as Principal);
  }

  private report(code: string, message: string): void {
    this.incidents.report({ code, source: 'core.context', message });
  }
}

function isHeader(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_HEADER_CHARS;
}
