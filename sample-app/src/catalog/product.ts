export interface Product {
  readonly sku: string;
  readonly name: string;
  readonly priceCents: number;
  /** Pieces on the shelf. */
  readonly qty: number;
  /** Whose it is: he gets what it is sold for. */
  readonly merchant: string;
}
