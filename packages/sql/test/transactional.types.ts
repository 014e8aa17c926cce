import { type Sql, Transactional } from '@lockstep/sql';

export class Methods {
  @Transactional()
  async asynchronous(name: string): Promise<string> {
    return name;
  }

  // @ts-expect-error a transaction cannot stand around a method that does not wait
  @Transactional()
  synchronous(): number {
    return 1;
  }

  // @ts-expect-error no such isolation level
  @Transactional({ isolation: 'snapshot' })
  async unknownIsolation(): Promise<void> {}

  // @ts-expect-error no such propagation
  @Transactional({ propagation: 'never' })
  async unknownPropagation(): Promise<void> {}
}

export async function rows(sql: Sql): Promise<string | undefined> {
  const result = await sql.query<{ name: string }>('SELECT name FROM t');
  // @ts-expect-error a row may be missing
  const certain: string = result[0].name;
  return result[0]?.name ?? certain;
}
