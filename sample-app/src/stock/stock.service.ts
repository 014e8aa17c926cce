import type { SqlTransaction } from '@lockstep/sql';
import { Injectable } from '@nestjs/common';

@Injectable()
export class StockService {
  /**
   * Takes pieces off the shelf. False when there are too few; the condition in the statement holds even where no lock
   * stands before it.
   */
  async take(tx: SqlTransaction, sku: string, qty: number): Promise<boolean> {
    const taken = await tx.execute('UPDATE mall_stock SET qty = qty - $2 WHERE sku = $1 AND qty >= $2', [sku, qty]);
    return taken === 1;
  }

  async giveBack(tx: SqlTransaction, sku: string, qty: number): Promise<void> {
    await tx.execute('UPDATE mall_stock SET qty = qty + $2 WHERE sku = $1', [sku, qty]);
  }
}
