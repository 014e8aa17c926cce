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
} from '@lockstep/lock';
import { MemoryLockStore } from '@lockstep/lock';

/** A memory store whose answers a test replaces, to see what the runtime makes of them. */
export class ScriptedStore implements LockStore {
  readonly name = 'scripted';
  readonly real = new MemoryLockStore();
  abilities: StoreAbilities = this.real.abilities;
  /** Absent, as in a store that cannot. */
  acquirePrefix?: NonNullable<LockStore['acquirePrefix']>;
  readonly extensions: (readonly ExtendRequest[])[] = [];
  onAcquire: (request: AcquireRequest) => Promise<Grant | Busy> = (request) => this.real.acquire(request);
  onExtend: (requests: readonly ExtendRequest[]) => Promise<readonly ExtendOutcome[]> = (requests) =>
    this.real.extend(requests);
  onRelease: (requests: readonly ReleaseRequest[]) => Promise<readonly ReleaseOutcome[]> = (requests) =>
    this.real.release(requests);
  onInspect: (key: string) => Promise<LockState> = (key) => this.real.inspect(key);

  acquire(request: AcquireRequest): Promise<Grant | Busy> {
    return this.onAcquire(request);
  }

  extend(requests: readonly ExtendRequest[]): Promise<readonly ExtendOutcome[]> {
    this.extensions.push(requests);
    return this.onExtend(requests);
  }

  release(requests: readonly ReleaseRequest[]): Promise<readonly ReleaseOutcome[]> {
    return this.onRelease(requests);
  }

  inspect(key: string): Promise<LockState> {
    return this.onInspect(key);
  }

  close(): Promise<void> {
    return this.real.close();
  }
}
