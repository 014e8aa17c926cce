import { PgTimeoutError } from '@lockstep/sql/postgres';

/** Lets one at a time through for each key, in the order of their coming. */
export class KeyGate {
  private readonly last = new Map<bigint, Promise<unknown>>();

  /**
   * @throws PgTimeoutError when those before it take longer than `timeoutMs`; `work` is not called then
   */
  pass<T>(key: bigint, timeoutMs: number, work: () => Promise<T>): Promise<T> {
    if (!this.last.has(key)) return this.append(key, work);
    return new Promise((resolve, reject) => {
      let hasLeft = false;
      const timer = setTimeout(() => {
        hasLeft = true;
        reject(new PgTimeoutError(timeoutMs));
      }, timeoutMs);
      const turn = async (): Promise<void> => {
        clearTimeout(timer);
        if (!hasLeft) await work().then(resolve, reject);
      };
      void this.append(key, turn);
    });
  }

  private append<T>(key: bigint, turn: () => Promise<T>): Promise<T> {
    const before = this.last.get(key);
    const result = before ? before.then(turn) : turn();
    const settled = result.then(forget, forget);
    this.last.set(key, settled);
    void settled.then(() => {
      if (this.last.get(key) === settled) this.last.delete(key);
    });
    return result;
  }
}

function forget(): void {}
