import { randomUUID } from 'node:crypto';

export interface OrderRequest {
  readonly sku: string;
  readonly qty: number;
}

export interface Order extends OrderRequest {
  readonly id: string;
}

/** What every variant's handler does: next to nothing, so that the guarantee is what is measured. */
export function newOrder(request: OrderRequest): Order {
  return { id: randomUUID(), ...request };
}

/** Long enough that nothing expires in a measurement. */
export const RETENTION_MS = 600_000;
