import { Inject, Injectable } from '@nestjs/common';

export const BANK_URL = Symbol('mall:BANK_URL');

const TIMEOUT_MS = 1_000;

/** How a charge ended. Of `unknown` the bank has to be asked. */
export type Charged = 'charged' | 'refused' | 'not-sent' | 'unknown';

/** The bank, which charges a reference once however often it is asked to. */
@Injectable()
export class BankClient {
  constructor(@Inject(BANK_URL) private readonly url: string) {}

  async charge(reference: string, cents: number): Promise<Charged> {
    try {
      const { status } = await this.call('PUT', reference, { cents });
      if (status === 201 || status === 200) return 'charged';
      return status === 409 ? 'refused' : 'unknown';
    } catch (error) {
      if (!isFailedCall(error)) throw error;
      return isRefusedConnection(error) ? 'not-sent' : 'unknown';
    }
  }

  /** What has become of a charge, for good: one that has not been made by now never will. */
  async close(reference: string): Promise<'charged' | 'void' | 'unknown'> {
    try {
      const response = await this.call('DELETE', reference);
      const { status } = (await response.json()) as { status?: unknown };
      return status === 'charged' || status === 'void' ? status : 'unknown';
    } catch (error) {
      if (isFailedCall(error)) return 'unknown';
      throw error;
    }
  }

  private call(method: string, reference: string, body?: unknown): Promise<Response> {
    return fetch(`${this.url}/charges/${reference}`, {
      method,
      headers: { 'content-type': 'application/json' },
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }
}

/** undici reports a broken connection as a TypeError, and the end of our patience by the name of its signal. */
function isFailedCall(error: unknown): error is Error {
  return error instanceof TypeError || (error instanceof Error && error.name === 'TimeoutError');
}

function isRefusedConnection({ cause }: Error): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED';
}
