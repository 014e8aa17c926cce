import { Sql } from '@lockstep/sql';
import { Inject, Injectable, NotFoundException } from '@nestjs/common';
import type { Product } from './product.js';

const SELECT = `
  SELECT p.sku, p.name, p.price_cents AS "priceCents", s.qty, p.merchant_id AS merchant
  FROM mall_product p JOIN mall_stock s USING (sku)`;

@Injectable()
export class CatalogService {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  list(): Promise<Product[]> {
    return this.sql.query<Product>(`${SELECT} ORDER BY sku LIMIT 100`);
  }

  async find(sku: string): Promise<Product> {
    const [product] = await this.sql.query<Product>(`${SELECT} WHERE sku = $1`, [sku]);
    if (!product) throw new NotFoundException(`No product ${sku}`);
    return product;
  }

  /** Puts a product on the shelf, or sets how many pieces there are. Repeating it changes nothing. */
  async put(product: Product): Promise<void> {
    await this.sql.transaction(async (tx) => {
      await tx.execute('INSERT INTO mall_merchant_account (id) VALUES ($1) ON CONFLICT DO NOTHING', [product.merchant]);
      await tx.execute(
        `INSERT INTO mall_product (sku, name, price_cents, merchant_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT (sku) DO UPDATE SET
           name = EXCLUDED.name, price_cents = EXCLUDED.price_cents, merchant_id = EXCLUDED.merchant_id`,
        [product.sku, product.name, product.priceCents, product.merchant],
      );
      await tx.execute(
        'INSERT INTO mall_stock (sku, qty) VALUES ($1, $2) ON CONFLICT (sku) DO UPDATE SET qty = EXCLUDED.qty',
        [product.sku, product.qty],
      );
    });
  }
}
