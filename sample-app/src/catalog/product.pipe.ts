import { BadRequestException, Injectable, type PipeTransform } from '@nestjs/common';
import type { Product } from './product.js';

const SKU = /^[a-z0-9-]{1,64}$/;
const MERCHANT = /^[a-z0-9-]{1,64}$/;
const OF_THE_HOUSE = 'house';
// What an order of the most pieces costs must fit an integer column.
const MAX_PRICE_CENTS = 10_000_000;
const MAX_QTY = 2_147_483_647;

@Injectable()
export class SkuPipe implements PipeTransform<unknown, string> {
  transform(value: unknown): string {
    if (typeof value === 'string' && SKU.test(value)) return value;
    throw new BadRequestException('sku must be 1 to 64 of a-z, 0-9 and -');
  }
}

@Injectable()
export class MerchantPipe implements PipeTransform<unknown, string> {
  transform(value: unknown): string {
    if (typeof value === 'string' && MERCHANT.test(value)) return value;
    throw new BadRequestException('merchant must be 1 to 64 of a-z, 0-9 and -');
  }
}

/** A product without a merchant is the mall's own. */
@Injectable()
export class ProductPipe implements PipeTransform<unknown, Omit<Product, 'sku'>> {
  private readonly merchants = new MerchantPipe();

  transform(value: unknown): Omit<Product, 'sku'> {
    const { name, priceCents, qty, merchant = OF_THE_HOUSE } = (value ?? {}) as Partial<Record<keyof Product, unknown>>;
    if (typeof name !== 'string' || name.length === 0 || name.length > 200) {
      throw new BadRequestException('name must be a string of 1 to 200 characters');
    }
    return {
      name,
      priceCents: wholeNumber(priceCents, 'priceCents', MAX_PRICE_CENTS),
      qty: wholeNumber(qty, 'qty', MAX_QTY),
      merchant: this.merchants.transform(merchant),
    };
  }
}

function wholeNumber(value: unknown, field: string, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new BadRequestException(`${field} must be a whole number from 0 to ${max}`);
}
