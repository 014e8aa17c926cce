import {
  ConfigurationError,
  type DriverProvider,
  Incidents,
  monotonicMs,
  type StoreUnavailableError,
} from '@lockstep/core';
import type {
  AcquireRequest,
  Busy,
  ExtendOutcome,
  ExtendRequest,
  Grant,
  LockState,
  LockStore,
  ReleaseOutcome,
  ReleaseRequest,
  StoreAbilities,
} from '../../lock-store.js';
import { AbandonedClaims } from './abandoned-claims.js';
import { EphemeralRecipe } from './ephemeral-recipe.js';
import type { HeldLock } from './held-lock.js';
import { HeldLocks } from './held-locks.js';
import { type AcquisitionHost, LockAcquisition } from './lock-acquisition.js';
import { LockParents } from './lock-parents.js';
import type { LockRecipe } from './lock-recipe.js';
import { releaseLock } from './lock-release.js';
import { SequentialRecipe } from './sequential-recipe.js';
import { unavailable, within } from './within.js';
import {
  type ResolvedZooKeeperOptions,
  resolveZooKeeperOptions,
  type ZooKeeperLockStoreOptions,
} from './zookeeper.options.js';
import type { ClientFactory, SessionHost, ZooKeeperSession } from './zookeeper-session.js';
import { ZooKeeperSessions } from './zookeeper-sessions.js';

/**
 * Locks on ZooKeeper 3.5 or newer, in one session of the store's own; needs `node-zookeeper-client` installed.
 *
 * @throws ConfigurationError naming the option and its value; at boot, where the client is not installed
 */
export function zookeeperLockStore(options: ZooKeeperLockStoreOptions): DriverProvider<LockStore> {
  const resolved = resolveZooKeeperOptions(options);
  return {
    inject: [Incidents],
    useFactory: async (incidents: Incidents) => new ZooKeeperLockStore(await loadClient(), incidents, resolved),
  };
}

async function loadClient(): Promise<ClientFactory> {
  try {
    return (await import('node-zookeeper-client')).createClient;
  } catch (cause) {
    throw new ConfigurationError('zookeeperLockStore() needs node-zookeeper-client: npm install it.', cause);
  }
}

/** Locks that end with the session that this store has with ZooKeeper. */
export class ZooKeeperLockStore implements LockStore {
  readonly name = 'zookeeper';
  readonly abilities: StoreAbilities;
  private readonly recipe: LockRecipe;
  private readonly parents: LockParents;
  private readonly sessions: ZooKeeperSessions;
  private readonly held: HeldLocks;
  private readonly abandoned: AbandonedClaims;
  private readonly host: AcquisitionHost;
  private readonly commandTimeoutMs: number;
  private readonly running = new Map<LockAcquisition, Promise<unknown>>();
  private isClosed = false;

  constructor(createClient: ClientFactory, incidents: Incidents, options: ResolvedZooKeeperOptions) {
    this.commandTimeoutMs = options.commandTimeoutMs;
    this.parents = new LockParents(options.root, () => this.sessions.liveNow, incidents);
    const Recipe = options.recipe === 'sequential' ? SequentialRecipe : EphemeralRecipe;
    this.recipe = new Recipe(options.root, this.parents);
    this.abilities = this.recipe.abilities;
    this.held = new HeldLocks(this.recipe);
    this.abandoned = new AbandonedClaims(this.recipe, incidents);
    const sessionHost: SessionHost = {
      onSilent: (session) => this.lost(session, 'backend'),
      onEnded: (session, cause) => this.lost(session, cause),
    };
    this.sessions = new ZooKeeperSessions(createClient, options, sessionHost, incidents);
    const { recipe, sessions, held, abandoned, commandTimeoutMs } = this;
    this.host = { recipe, sessions, held, abandoned, commandTimeoutMs };
  }

  async acquire(request: AcquireRequest): Promise<Grant | Busy> {
    const { signal } = request;
    if (signal?.aborted) throw signal.reason;
    const isRepeated = await this.endEarlier(request);
    if (signal?.aborted) throw signal.reason;
    if (this.isClosed) return { status: 'busy', remainingMs: 0 };
    const acquisition = new LockAcquisition(request, this.host, isRepeated);
    const run = acquisition.run().finally(() => this.running.delete(acquisition));
    this.running.set(acquisition, run);
    return signal ? this.untilAborted(run, acquisition, request, signal) : run;
  }

  async extend(requests: readonly ExtendRequest[]): Promise<readonly ExtendOutcome[]> {
    const held = requests.map((request) => this.held.get(request));
    const session = held.find((lock) => lock && !lock.loss)?.session;
    let failure: StoreUnavailableError | undefined;
    if (session) failure = await this.confirm(session);
    return held.map((lock, index) => this.outcomeOf(requests[index], lock, failure));
  }

  async release(requests: readonly ReleaseRequest[]): Promise<readonly ReleaseOutcome[]> {
    return Promise.all(requests.map((request) => releaseLock(this.host, request)));
  }

  async inspect(key: string): Promise<LockState> {
    const until = monotonicMs() + this.commandTimeoutMs;
    const operation = 'lock.inspect';
    try {
      const session = await this.sessions.live(until, operation);
      // A follower may lag behind what others were told already.
      return await within(
        until,
        session.confirm().then(() => this.recipe.inspect(session, key)),
      );
    } catch (cause) {
      throw unavailable(operation, cause);
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    for (const acquisition of this.running.keys()) acquisition.giveUp();
    await Promise.allSettled(this.running.values());
    const until = monotonicMs() + this.commandTimeoutMs;
    // What cannot be removed in time stays until somebody uses the key again.
    await Promise.allSettled([within(until, this.parents.close())]);
    this.held.clear();
    await this.sessions.close(this.commandTimeoutMs);
  }

  /** A token that asks again gets what it has; whether there may be something that is not known of. */
  private async endEarlier(request: AcquireRequest): Promise<boolean> {
    const until = monotonicMs() + this.commandTimeoutMs;
    try {
      await within(until, this.abandoned.done(request.token));
    } catch (cause) {
      throw unavailable('lock.acquire', cause);
    }
    const held = this.held.get(request);
    if (!held) return false;
    this.held.delete(held);
    this.recipe.finish(held.claim, held.session);
    return true;
  }

  private untilAborted(
    run: Promise<Grant | Busy>,
    acquisition: LockAcquisition,
    request: AcquireRequest,
    signal: AbortSignal,
  ): Promise<Grant | Busy> {
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        acquisition.giveUp();
        reject(signal.reason);
      };
      signal.addEventListener('abort', abort, { once: true });
      const settle = (outcome: Grant | Busy): void => {
        signal.removeEventListener('abort', abort);
        // It may abort between the grant and this line; then the grant has no taker.
        const isLate = signal.aborted && outcome.status === 'granted';
        if (isLate) void this.release([{ ...request, deadline: outcome.deadline }]);
        resolve(outcome);
      };
      run.then(settle, (error: unknown) => {
        signal.removeEventListener('abort', abort);
        reject(error);
      });
    });
  }

  private lost(session: ZooKeeperSession, cause: 'session' | 'backend'): void {
    this.held.lose(session, cause);
    for (const acquisition of this.running.keys()) acquisition.lookAgain();
  }

  /** One question for all leases; its answer comes after the news of every node that is gone. */
  private async confirm(session: ZooKeeperSession): Promise<StoreUnavailableError | undefined> {
    try {
      await within(monotonicMs() + this.commandTimeoutMs, session.confirm());
      return undefined;
    } catch (cause) {
      return unavailable('lock.extend', cause);
    }
  }

  private outcomeOf(
    request: ExtendRequest | undefined,
    asked: HeldLock | undefined,
    failure: StoreUnavailableError | undefined,
  ): ExtendOutcome {
    const held = request && this.held.get(request);
    if (!held || held !== asked) return { status: 'lost', cause: 'stolen' };
    if (held.loss) return { status: 'lost', cause: held.loss };
    if (failure) return { status: 'failed', error: failure };
    return { status: 'extended', deadline: held.session.sureUntil };
  }
}
