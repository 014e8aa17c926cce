import type { AbstractHttpAdapter } from '@nestjs/core';
import type { AnyResponse } from './answer-keeper.js';

/** What Express and Fastify have in common for taking back what a run has set. */
interface HeaderedResponse extends AnyResponse {
  getHeaders(): Readonly<Record<string, unknown>>;
  removeHeader(name: string): unknown;
}

/** A response as it was before its handler ran, to be restored for another run after the first was rolled back. */
export class ResponseStart {
  private readonly response: HeaderedResponse;
  private readonly statusCode: number;
  private readonly headers: Readonly<Record<string, unknown>>;

  constructor(
    private readonly adapter: AbstractHttpAdapter,
    response: AnyResponse,
  ) {
    this.response = response as HeaderedResponse;
    this.statusCode = response.statusCode;
    this.headers = { ...this.response.getHeaders() };
  }

  restore(): void {
    const { adapter, response, headers } = this;
    adapter.status(response, this.statusCode);
    for (const name of Object.keys(response.getHeaders())) {
      if (!(name in headers)) response.removeHeader(name);
    }
    for (const [name, value] of Object.entries(headers)) {
      // Both servers take numbers and lists, which the signature of Nest's adapter does not know.
      if (response.getHeaders()[name] !== value) adapter.setHeader(response, name, value as string);
    }
  }
}
