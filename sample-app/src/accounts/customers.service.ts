import { randomUUID } from 'node:crypto';
import { Sql } from '@lockstep/sql';
import { ConflictException, Inject, Injectable } from '@nestjs/common';
import type { Credentials, Customer } from './customer.js';
import { hashPassword, isPassword } from './password.js';

@Injectable()
export class CustomersService {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  async signUp({ name, password }: Credentials): Promise<Customer> {
    const [customer] = await this.sql.query<Customer>(
      `INSERT INTO mall_customer (id, name, password_hash) VALUES ($1::uuid, $2, $3)
       ON CONFLICT DO NOTHING RETURNING id::text, name`,
      [randomUUID(), name, await hashPassword(password)],
    );
    if (customer) return customer;
    throw new ConflictException({ code: 'NAME_TAKEN', message: 'There is a customer of that name already' });
  }

  /** Undefined for a name that nobody has as for a wrong password, after the same time. */
  async authenticate({ name, password }: Credentials): Promise<Customer | undefined> {
    const [found] = await this.sql.query<Customer & { readonly passwordHash: string }>(
      'SELECT id::text, name, password_hash AS "passwordHash" FROM mall_customer WHERE name = $1',
      [name],
    );
    const isHis = await isPassword(password, found?.passwordHash);
    return isHis && found ? { id: found.id, name: found.name } : undefined;
  }

  async find(id: string): Promise<Customer | undefined> {
    const text = 'SELECT id::text, name FROM mall_customer WHERE id = $1::uuid';
    const [customer] = await this.sql.query<Customer>(text, [id]);
    return customer;
  }
}
