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
} from '@lockstep/lock';
import { MemoryLockStore } from '@lockstep/lock';

/** A memory store whose answers a test replaces, to see what the runtime makes of them. */
export class ScriptedStore implements LockStore {
  readonly name = 'scripted';
  readonly real = new MemoryLockStore();
  readonly abilities = this.real.abilities;
  readonly extensions: (readonly ExtendRequest[])[] = [];
  onAcquire: (request: AcquireRequest) => Promise<Grant | Busy> = (request) => this.real.acquire(request);
  onExtend: (requests: readonly ExtendRequest[]) => Promise<readonly ExtendOutcome[]> = (requests) =>
    this.real.extend(requests);
  onRelease: (requests: readonly ReleaseRequest[]) => Promise<readonly ReleaseOutcome[]> = (requests) =>
    this.real.release(requests);

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
    return this.real.inspect(key);
  }

  close(): Promise<void> {
    return this.real.close();
  }
}
