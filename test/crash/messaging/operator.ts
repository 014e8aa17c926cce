import { setTimeout as sleep } from 'node:timers/promises';
import { isLockstepError } from '@lockstep/core';
import { noteSkip } from './books.js';
import type { Desk } from './desk.js';
import type { Errand } from './errand.js';

const SEQUENCE_HEADER = 'Lockstep-Sequence';
const LOOKS_EVERY_MS = 500;

/** Looks at what holds up a strict key now and then, notes it in the books and lets the others pass. */
export class Operator {
  private isStopping = false;
  private working: Promise<void> | undefined;

  constructor(private readonly desk: Desk) {}

  start(): void {
    this.working = this.work();
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await this.working;
  }

  private async work(): Promise<void> {
    while (!this.isStopping) {
      try {
        await this.skip();
      } catch (error) {
        if (!isLockstepError(error) || error.kind === 'misuse') throw error;
      }
      await sleep(LOOKS_EVERY_MS);
    }
  }

  private async skip(): Promise<void> {
    const blocking = await this.desk.deadLetters.blocking();
    for (const { consumer, message } of blocking) {
      const { tag } = JSON.parse(message.payload) as Errand;
      await noteSkip(this.desk.sql, consumer, tag, message.headers[SEQUENCE_HEADER] ?? '');
    }
    if (blocking.length > 0) await this.desk.deadLetters.skip(blocking);
  }
}
