import 'reflect-metadata';
import { Idempotent, type IdempotentOptions, NotApplied } from '@lockstep/idempotency';
import { eventually } from '@lockstep/testing';
import { type ExecutionContext, Injectable, NotFoundException } from '@nestjs/common';
import { Args, Field, GraphQLModule, Int, Mutation, ObjectType, Query, Resolver, Subscription } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type HttpApp, startHttpApp } from './support/http-app.js';

@ObjectType()
class Placed {
  @Field(() => String)
  sku = '';

  @Field(() => Int)
  run = 0;

  @Field(() => Date)
  due = new Date(5);

  @Field(() => String, { nullable: true })
  note?: string;
}

@ObjectType()
class Computed {
  @Field(() => Int)
  get total(): number {
    return 5;
  }
}

let runs = 0;
let gate: Promise<unknown> = Promise.resolve();
beforeEach(() => {
  runs = 0;
  gate = Promise.resolve();
});

@Resolver()
class Orders {
  @Query(() => String)
  async hello(): Promise<string> {
    return 'world';
  }

  @Mutation(() => Placed)
  @Idempotent()
  async place(@Args('sku', { type: () => String }) sku: string): Promise<Placed> {
    runs += 1;
    await gate;
    if (sku === 'none') throw new NotFoundException('no such book');
    if (sku === 'closed') throw new NotApplied(new Error('closed today'));
    if (sku === 'bank') throw new Error('the bank did not answer');
    return Object.assign(new Placed(), { sku, run: runs });
  }

  @Idempotent({ required: false })
  @Mutation(() => Computed)
  async compute(): Promise<Computed> {
    runs += 1;
    return new Computed();
  }
}

function graphql(): ReturnType<typeof GraphQLModule.forRoot> {
  return GraphQLModule.forRoot<MercuriusDriverConfig>({ driver: MercuriusDriver, autoSchemaFile: true });
}

function userOf(context: ExecutionContext): string {
  const [, , server] = context.getArgs<[unknown, unknown, { req: { headers: Record<string, string | undefined> } }]>();
  return server.req.headers['x-user'] ?? 'anonymous';
}

interface GraphQLAnswer {
  readonly data?: Record<string, unknown> | null;
  readonly errors?: readonly { readonly message: string; readonly extensions?: { readonly code?: string } }[];
}

describe('@Idempotent on a mutation of GraphQL', () => {
  let http: HttpApp;
  let keys = 0;
  beforeAll(async () => {
    http = await startHttpApp({
      platform: 'fastify',
      controllers: [],
      providers: [Orders],
      imports: [graphql()],
      options: { scope: userOf },
    });
  });
  afterAll(() => http.close());

  function newKey(): string {
    keys += 1;
    return `a-key-of-sufficient-length-${keys}`;
  }

  async function ask(query: string, key?: string, user = 'ann'): Promise<GraphQLAnswer> {
    const headers = { 'content-type': 'application/json', 'x-user': user, ...(key && { 'idempotency-key': key }) };
    const answer = await fetch(`${http.url}/graphql`, { method: 'POST', headers, body: JSON.stringify({ query }) });
    return (await answer.json()) as GraphQLAnswer;
  }

  const place = (sku: string, fields = 'sku run due note'): string => `mutation { place(sku: "${sku}") { ${fields} } }`;
  const codeOf = ({ errors }: GraphQLAnswer): unknown => errors?.[0]?.extensions?.code;

  it('runs once, and a repetition gets the first result, dates included, whatever fields it asks for', async () => {
    const key = newKey();
    const first = await ask(place('book'), key);
    expect(first.data).toEqual({ place: { sku: 'book', run: 1, due: '1970-01-01T00:00:00.005Z', note: null } });
    expect([await ask(place('book'), key), runs]).toEqual([first, 1]);
    expect((await ask(place('book', 'due'), key)).data).toEqual({ place: { due: '1970-01-01T00:00:00.005Z' } });
  });

  it('has a key of its own for each alias of a document', async () => {
    const key = newKey();
    const query = 'mutation { a: place(sku: "book") { run } b: place(sku: "pen") { run } }';
    const first = await ask(query, key);
    expect(first.data).toEqual({ a: { run: 1 }, b: { run: 2 } });
    expect([await ask(query, key), runs]).toEqual([first, 2]);
  });

  it('does not share keys between users', async () => {
    const key = newKey();
    expect((await ask(place('book', 'run'), key, 'ann')).data).toEqual({ place: { run: 1 } });
    expect((await ask(place('book', 'run'), key, 'bob')).data).toEqual({ place: { run: 2 } });
  });

  it('answers errors with extensions.code: missing, malformed, reused, running, uncertain', async () => {
    const key = newKey();
    expect(codeOf(await ask(place('book')))).toBe('IDEMPOTENCY_KEY_MISSING');
    expect(codeOf(await ask(place('book'), 'short'))).toBe('IDEMPOTENCY_KEY_INVALID');
    expect(runs).toBe(0);
    await ask(place('book'), key);
    expect(codeOf(await ask(place('pen'), key))).toBe('IDEMPOTENCY_KEY_REUSED');

    let open = (): void => undefined;
    gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const busy = newKey();
    const first = ask(place('book'), busy);
    await eventually(() => expect(runs).toBe(2));
    expect(await ask(place('book'), busy)).toMatchObject({
      errors: [{ extensions: { code: 'OPERATION_IN_PROGRESS', retryable: true, safeNewKey: false } }],
    });
    open();
    await first;

    const lost = newKey();
    expect((await ask(place('bank'), lost)).errors?.[0]?.message).toBe('the bank did not answer');
    expect(codeOf(await ask(place('bank'), lost))).toBe('OPERATION_UNCERTAIN');
    expect(runs).toBe(3);
  });

  it('repeats a final refusal, and frees the key where nothing happened', async () => {
    const [final, free] = [newKey(), newKey()];
    const refusals = [await ask(place('none'), final), await ask(place('none'), final)];
    expect(refusals.map(({ errors }) => errors?.[0]?.message)).toEqual(['no such book', 'no such book']);
    expect(runs).toBe(1);
    expect((await ask(place('closed'), free)).errors?.[0]?.message).toBe('closed today');
    expect((await ask(place('book', 'run'), free)).data).toEqual({ place: { run: 3 } });
  });

  it('refuses the repetition of an object with getters, instead of answering without them', async () => {
    const key = newKey();
    expect((await ask('mutation { compute { total } }', key)).data).toEqual({ compute: { total: 5 } });
    expect(codeOf(await ask('mutation { compute { total } }', key))).toBe('OPERATION_RESULT_UNAVAILABLE');
    expect(http.incidents.map(({ code }) => code)).toContain('RESULT_NOT_STORABLE');
    await ask('mutation { compute { total } }');
    expect(runs).toBe(2);
  });

  it('leaves queries alone', async () => {
    expect((await ask('{ hello }')).data).toEqual({ hello: 'world' });
  });
});

describe('an application does not start', () => {
  async function boot(resolver: new () => unknown): Promise<void> {
    const app = await startHttpApp({
      platform: 'fastify',
      controllers: [],
      providers: [resolver],
      imports: [graphql()],
    });
    await app.close();
  }

  it('where @Idempotent stands on a query or a subscription', async () => {
    @Resolver()
    class Asking {
      @Query(() => String)
      @Idempotent()
      async hello(): Promise<string> {
        return 'world';
      }
    }
    @Injectable()
    class Listening {
      @Subscription(() => String)
      @Idempotent()
      async hello(): Promise<string> {
        return 'world';
      }
    }
    await expect(boot(Asking)).rejects.toThrow('Asking.hello is decorated with @Idempotent, but it is no mutation');
    await expect(boot(Listening)).rejects.toThrow(
      'Listening.hello is decorated with @Idempotent, but it is no mutation',
    );
  });

  it('where a mutation shall be one transaction and the store cannot', async () => {
    const options: IdempotentOptions = { mode: 'transactional' };
    @Resolver()
    class Paying {
      @Query(() => String)
      async hello(): Promise<string> {
        return 'world';
      }
      @Mutation(() => String)
      @Idempotent(options)
      async pay(): Promise<string> {
        return 'paid';
      }
    }
    await expect(boot(Paying)).rejects.toThrow('use a store in SQL');
  });
});
