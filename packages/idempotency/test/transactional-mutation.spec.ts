import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Idempotent, NotApplied } from '@lockstep/idempotency';
import { sqlIdempotencyStore } from '@lockstep/idempotency/sql';
import { SqlModule } from '@lockstep/sql';
import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
  NotFoundException,
  UseInterceptors,
} from '@nestjs/common';
import { Args, Field, GraphQLModule, Mutation, ObjectType, Query, Resolver } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { from, map, type Observable } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BOOKING_TABLE, Bookings } from './support/bookings.controller.js';
import { type HttpApp, startHttpApp } from './support/http-app.js';
import { gate, ran, runs } from './support/orders.controller.js';
import { SQL_SERVERS } from './support/sql-servers.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-stores.js';

@ObjectType()
class Booked {
  @Field(() => String)
  id = '';

  @Field(() => Date)
  due = new Date(5);
}

/** Answers while the handler is still at it. */
@Injectable()
class Hasty implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const [, { name }] = context.getArgs<[unknown, { readonly name: string }]>();
    next.handle().subscribe();
    return from(gate(`begun ${name}`).opened).pipe(map(() => Object.assign(new Booked(), { id: 'too early' })));
  }
}

@Resolver()
class Rooms {
  constructor(@Inject(Bookings) private readonly bookings: Bookings) {}

  @Query(() => String)
  async hello(): Promise<string> {
    return 'world';
  }

  @Mutation(() => Booked)
  @Idempotent({ mode: 'transactional' })
  async book(
    @Args('name', { type: () => String }) name: string,
    @Args('fails', { type: () => String, nullable: true }) fails?: string,
  ): Promise<Booked> {
    const id = await this.bookings.book(name);
    const times = ran(`book ${name}`);
    if (fails === 'final') throw new NotFoundException('no such room');
    if (fails === 'once' && times === 1) throw new NotApplied(new Error('closed today'));
    return Object.assign(new Booked(), { id });
  }

  @Mutation(() => Booked)
  @UseInterceptors(Hasty)
  @Idempotent({ mode: 'transactional' })
  async hasty(@Args('name', { type: () => String }) name: string): Promise<Booked> {
    const id = await this.bookings.book(name);
    gate(`begun ${name}`).open();
    await gate(name).opened;
    return Object.assign(new Booked(), { id });
  }
}

interface Answer {
  readonly data?: Record<string, { readonly id?: string; readonly due?: string }> | null;
  readonly errors?: readonly { readonly message: string; readonly extensions?: { readonly code?: string } }[];
}

describe.each(SQL_SERVERS)('a mutation that is one transaction, on $name', (server) => {
  const database = server.use();
  let observer: OpenSqlStore;
  let apps: HttpApp[] = [];

  beforeAll(async () => {
    observer = await openSqlStore(database.url);
    await observer.sql.execute(BOOKING_TABLE);
    const start = () =>
      startHttpApp({
        platform: 'fastify',
        controllers: [],
        providers: [Rooms, Bookings],
        imports: [
          SqlModule.forRoot({ driver: server.driver(database.url, 5) }),
          GraphQLModule.forRoot<MercuriusDriverConfig>({ driver: MercuriusDriver, autoSchemaFile: true }),
        ],
        store: sqlIdempotencyStore(),
        options: { scope: 'global', onConcurrent: { wait: '10s' } },
      });
    apps = [await start(), await start()];
  });
  afterAll(async () => {
    await Promise.all(apps.map((app) => app.close()));
    await observer.close();
  });

  async function ask(query: string, key: string, node = 0): Promise<Answer> {
    const headers = { 'content-type': 'application/json', 'idempotency-key': key };
    const url = `${apps[node % apps.length]?.url}/graphql`;
    return (await (await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query }) })).json()) as Answer;
  }
  const book = (name: string, fails = '') => `mutation { book(name: "${name}", fails: "${fails}") { id due } }`;
  const rows = async (name: string) =>
    (await observer.sql.query('SELECT 1 AS one FROM booking WHERE name = $1', [name])).length;

  it('gives concurrent duplicates of two processes one business row and the same result, dates included', async () => {
    const [name, key] = [randomUUID(), randomUUID()];
    const answers = await Promise.all(Array.from({ length: 6 }, (_, node) => ask(book(name), key, node)));
    expect(answers[0]?.data?.book).toEqual({ id: expect.any(String), due: '1970-01-01T00:00:00.005Z' });
    expect(answers).toEqual(answers.map(() => answers[0]));
    expect([await rows(name), runs.get(`book ${name}`)]).toEqual([1, 1]);
  });

  it('is a transaction for each mutation of a document', async () => {
    const [kept, undone, key] = [randomUUID(), randomUUID(), randomUUID()];
    const query = `mutation { a: book(name: "${kept}") { id } b: book(name: "${undone}", fails: "final") { id } }`;
    const messages = ({ errors }: Answer) => errors?.map(({ message }) => message);
    expect(messages(await ask(query, key))).toEqual(['no such room']);
    expect([await rows(kept), await rows(undone)]).toEqual([1, 0]);
    expect(messages(await ask(query, key, 1))).toEqual(['no such room']);
    expect([runs.get(`book ${kept}`), runs.get(`book ${undone}`)]).toEqual([1, 1]);
  });

  it('rolls back and frees the key where nothing was applied', async () => {
    const [name, key] = [randomUUID(), randomUUID()];
    expect((await ask(book(name, 'once'), key)).errors?.[0]?.message).toBe('closed today');
    expect(await rows(name)).toBe(0);
    expect((await ask(book(name, 'once'), key, 1)).data?.book?.id).toEqual(expect.any(String));
    expect(await rows(name)).toBe(1);
  });

  it('rolls back where an interceptor answers before the resolver has ended', async () => {
    const [name, key] = [randomUUID(), randomUUID()];
    const answer = await ask(`mutation { hasty(name: "${name}") { id } }`, key);
    gate(name).open();
    expect(answer.errors?.[0]?.extensions?.code).toBe('IDEMPOTENCY_ANSWER_OUTSIDE_TRANSACTION');
    expect(await rows(name)).toBe(0);
  });
});
