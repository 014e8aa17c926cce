import { type DriverProvider, StoreUnavailableError } from '@lockstep/core';
import { MemorySessionStore, type SessionStore } from '@lockstep/session';

type Step = 'load' | 'create' | 'save' | 'replace' | 'remove';

/** A store that counts what it is asked, and fails where a test says so. */
export class ShakyStore extends MemorySessionStore {
  readonly asked: Step[] = [];
  /** What a step rejects with, if it does. */
  failure: ((step: Step) => Error | Promise<Error | undefined> | undefined) | undefined;

  get loads(): number {
    return this.asked.filter((step) => step === 'load').length;
  }

  get driver(): DriverProvider<SessionStore> {
    return { useFactory: () => this };
  }

  /** Until `mend()`, all of it. */
  goDown(): void {
    this.failure = (step) => down(step);
  }

  mend(): void {
    this.failure = undefined;
  }

  override async load(...args: Parameters<MemorySessionStore['load']>): ReturnType<MemorySessionStore['load']> {
    await this.ask('load');
    return super.load(...args);
  }

  override async create(...args: Parameters<MemorySessionStore['create']>): ReturnType<MemorySessionStore['create']> {
    await this.ask('create');
    return super.create(...args);
  }

  override async save(...args: Parameters<MemorySessionStore['save']>): ReturnType<MemorySessionStore['save']> {
    await this.ask('save');
    return super.save(...args);
  }

  override async replace(
    ...args: Parameters<MemorySessionStore['replace']>
  ): ReturnType<MemorySessionStore['replace']> {
    await this.ask('replace');
    return super.replace(...args);
  }

  override async remove(...args: Parameters<MemorySessionStore['remove']>): ReturnType<MemorySessionStore['remove']> {
    await this.ask('remove');
    return super.remove(...args);
  }

  private async ask(step: Step): Promise<void> {
    this.asked.push(step);
    const error = await this.failure?.(step);
    if (error) throw error;
  }
}

export function down(step: string): StoreUnavailableError {
  return new StoreUnavailableError({ store: 'shaky', operation: `session.${step}`, outcome: 'not-applied' });
}
