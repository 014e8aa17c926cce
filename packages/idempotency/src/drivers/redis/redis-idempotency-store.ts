import type { RedisConnection, RedisScript } from '@lockstep/redis';
import type {
  BeginOutcome,
  BeginRequest,
  Claim,
  IdempotencyStore,
  Renewal,
  RenewalOutcome,
  Resolution,
  Settlement,
  UncertainOperation,
} from '../../idempotency-store.js';
import type {
  AdoptingStore,
  AdoptOutcome,
  AdoptRequest,
  PushingStore,
  StepStore,
  TokenStore,
} from '../../store-abilities.js';
import {
  adoptScript,
  beginScript,
  type IndexEntry,
  type IndexRead,
  issueScript,
  markUncertainScript,
  readIndexScript,
  renewScript,
  resolveScript,
  saveStepScript,
  settleScript,
} from './idempotency.scripts.js';
import { IdempotencyKeys, parseIndexMember } from './idempotency-keys.js';
import {
  issueSingleScript,
  type SingleToken,
  type SingleTokenIssue,
  takeSingleScript,
} from './single-token.scripts.js';

/**
 * One hash per operation, changed by scripts under the server's clock; calls of one tick travel as one command. Holds
 * what Redis holds: a failover that loses the last writes loses claims and answers with them.
 */
export class RedisIdempotencyStore implements IdempotencyStore, PushingStore, StepStore, AdoptingStore, TokenStore {
  private readonly keys: IdempotencyKeys;
  private readonly settleOne: RedisScript<{ claim: Claim; settlement: Settlement }, boolean>;
  private readonly renewOne: RedisScript<Renewal, boolean>;
  private readonly beginOne: RedisScript<BeginRequest, BeginOutcome>;
  private readonly resolveOne: RedisScript<{ id: string; resolution: Resolution }, boolean>;
  private readonly markOne: RedisScript<{ id: string; member: string }, boolean>;
  private readonly readIndex: RedisScript<IndexRead, readonly IndexEntry[]>;
  private readonly adoptOne: RedisScript<AdoptRequest, AdoptOutcome>;
  private readonly saveOne: RedisScript<{ claim: Claim; step: string; result: string }, boolean>;
  private readonly issueOne: RedisScript<{ id: string; ttlMs: number }, boolean>;
  private readonly takeOneSingle: RedisScript<SingleToken, boolean>;
  private readonly issueOneSingle: RedisScript<SingleTokenIssue, void>;

  /** What ends is sent before what begins: scripts of one tick go in the order in which they are made here. */
  constructor(private readonly redis: RedisConnection) {
    this.keys = new IdempotencyKeys(redis);
    const serverTime = { nowMs: () => redis.serverTimeMs(), boundMs: () => redis.serverTimeBoundMs() };
    this.settleOne = redis.script(settleScript(this.keys));
    this.renewOne = redis.script(renewScript(this.keys));
    this.beginOne = redis.script(beginScript(this.keys, serverTime));
    this.resolveOne = redis.script(resolveScript(this.keys));
    this.markOne = redis.script(markUncertainScript(this.keys));
    this.readIndex = redis.script(readIndexScript());
    this.adoptOne = redis.script(adoptScript(this.keys));
    this.saveOne = redis.script(saveStepScript(this.keys));
    this.issueOne = redis.script(issueScript(this.keys));
    this.takeOneSingle = redis.script(takeSingleScript(redis));
    this.issueOneSingle = redis.script(issueSingleScript(redis));
  }

  begin(request: BeginRequest): Promise<BeginOutcome> {
    return this.beginOne.run(request);
  }

  async renew(items: readonly Renewal[]): Promise<readonly RenewalOutcome[]> {
    const answers = await Promise.allSettled(items.map((item) => this.renewOne.run(item)));
    const failures = answers.filter((answer) => answer.status === 'rejected');
    if (failures[0] && failures.length === answers.length) throw failures[0].reason;
    return answers.map((answer) => {
      if (answer.status === 'rejected') return 'unknown';
      return answer.value ? 'renewed' : 'lost';
    });
  }

  settle(claim: Claim, settlement: Settlement): Promise<boolean> {
    return this.settleOne.run({ claim, settlement });
  }

  async sweep(limit: number): Promise<number> {
    const due = await this.entries('running', limit, 'due');
    const marked = await Promise.all(
      due.slice(0, limit).map(({ member }) => this.markOne.run({ id: parseIndexMember(member).id, member })),
    );
    return marked.filter(Boolean).length;
  }

  async listUncertain(limit: number): Promise<readonly UncertainOperation[]> {
    const entries = await this.entries('uncertain', limit, 'all');
    return entries.slice(0, limit).map(({ member, score }) => ({ ...parseIndexMember(member), sinceAt: score }));
  }

  resolve(id: string, resolution: Resolution): Promise<boolean> {
    return this.resolveOne.run({ id, resolution });
  }

  adopt(request: AdoptRequest): Promise<AdoptOutcome> {
    return this.adoptOne.run(request);
  }

  saveStep(claim: Claim, step: string, result: string): Promise<boolean> {
    return this.saveOne.run({ claim, step, result });
  }

  async issue(id: string, ttlMs: number): Promise<void> {
    await this.issueOne.run({ id, ttlMs });
  }

  issueSingle(slot: string, token: string, ttlMs: number): Promise<void> {
    return this.issueOneSingle.run({ slot, token, ttlMs });
  }

  takeSingle(slot: string, token: string): Promise<boolean> {
    return this.takeOneSingle.run({ slot, token });
  }

  /** The channel of an operation is the key of its record. */
  watch(id: string, heard: () => void): Promise<() => Promise<void>> {
    return this.redis.subscribe(this.keys.record(id), heard, heard);
  }

  /** Of all buckets, lowest score first. */
  private async entries(index: 'running' | 'uncertain', limit: number, which: 'due' | 'all'): Promise<IndexEntry[]> {
    const reads = this.keys.buckets.map((bucket) => this.readIndex.run({ index: bucket[index], limit, which }));
    return (await Promise.all(reads)).flat().sort((a, b) => a.score - b.score);
  }
}
