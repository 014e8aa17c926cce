export interface Product {
  readonly sku: string;
  readonly name: string;
  readonly priceCents: number;
  /** Pieces on the shelf. */
  readonly qty: number;
}
