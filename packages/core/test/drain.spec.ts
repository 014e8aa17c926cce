import 'reflect-metadata';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { CoreModule, type DrainPhase, DrainService, Incidents, LockstepModule } from '@lockstep/core';
import { eventually } from '@lockstep/testing';
import { Controller, Get } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { serve } from './support/platforms.js';

const PHASES: readonly DrainPhase[] = ['connections', 'leases', 'work', 'intake'];

describe('DrainService', () => {
  const unhandled: unknown[] = [];
  const warnings: string[] = [];
  const onUnhandled = (reason: unknown) => unhandled.push(reason);
  const onWarning = (warning: Error) => warnings.push(warning.name);

  beforeEach(() => {
    process.on('unhandledRejection', onUnhandled).on('warning', onWarning);
  });
  afterEach(() => {
    process.off('unhandledRejection', onUnhandled).off('warning', onWarning);
    expect([...unhandled, ...warnings]).toEqual([]);
  });

  async function boot(drainTimeout: `${number}ms` = '50ms') {
    const app = await Test.createTestingModule({
      imports: [CoreModule, LockstepModule.forRoot({ drainTimeout })],
    }).compile();
    await app.init();
    const reported: string[] = [];
    app.get(Incidents).subscribe(({ message }) => reported.push(message));
    return { app, drain: app.get(DrainService), reported };
  }

  it('drains phase after phase, and the members of one side by side', async () => {
    const { app, drain, reported } = await boot();
    const notes: string[] = [];
    for (const phase of PHASES) {
      for (const name of [`${phase} 1`, `${phase} 2`]) {
        const member = async () => {
          notes.push(`${phase} begins`);
          await Promise.resolve();
          notes.push(`${phase} ends`);
        };
        drain.register({ name, phase, drain: member });
      }
    }
    drain.register({ name: 'taken out', phase: 'work', drain: async () => void notes.push('never') })();
    await app.close();
    const sides = (phase: string) => [`${phase} begins`, `${phase} begins`, `${phase} ends`, `${phase} ends`];
    expect(notes).toEqual(['intake', 'work', 'leases', 'connections'].flatMap(sides));
    expect(reported).toEqual([]);
  });

  it('leaves the late and the failing behind, reports them, and drains the others', async () => {
    const { app, drain, reported } = await boot();
    const ended: string[] = [];
    let lateReject: (error: Error) => void = () => undefined;
    drain.register({
      name: 'hangs',
      phase: 'intake',
      drain: () =>
        new Promise((_resolve, reject) => {
          lateReject = reject;
        }),
    });
    drain.register({
      name: 'gives up',
      phase: 'intake',
      drain: (signal) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => resolve(void ended.push(String(signal.reason))));
        }),
    });
    drain.register({ name: 'rejects', phase: 'intake', drain: () => Promise.reject(new Error('no')) });
    drain.register({
      name: 'throws',
      phase: 'work',
      drain: () => {
        throw new Error('at once');
      },
    });
    drain.register({ name: 'sound', phase: 'connections', drain: async () => void ended.push('sound') });
    await app.close();
    for (const name of ['hangs', 'rejects', 'throws'])
      expect(reported).toContain(`${name} was left behind at shutdown`);
    expect(reported).not.toContain('sound was left behind at shutdown');
    expect(ended).toEqual(['Error: not drained after 50 ms', 'sound']);
    // The loser of the race rejects when nobody waits for it any more.
    lateReject(new Error('much later'));
    await new Promise((resolve) => setImmediate(resolve));
  });

  it('takes any number of members without a warning about listeners', async () => {
    const { app, drain, reported } = await boot('10ms');
    for (let index = 0; index < 30; index++) {
      const member = (signal: AbortSignal) =>
        new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      drain.register({ name: `member ${index}`, phase: 'work', drain: member });
    }
    await app.close();
    expect(reported.length).toBeLessThanOrEqual(30);
    await new Promise((resolve) => setImmediate(resolve));
  });

  it('drains once when a signal arrives while the application closes', async () => {
    const { app, drain } = await boot();
    let drained = 0;
    drain.register({ name: 'one', phase: 'work', drain: async () => void drained++ });
    await Promise.all([drain.beforeApplicationShutdown(), drain.beforeApplicationShutdown()]);
    await app.close();
    expect(drained).toBe(1);
  });

  it('ends intake and work while HTTP still answers, and releases leases after it has closed', async () => {
    @Controller()
    class AliveController {
      @Get()
      alive(): string {
        return 'alive';
      }
    }
    const { app, url } = await serve('express', { imports: [CoreModule], controllers: [AliveController] });
    const answers: string[] = [];
    const drain = async () => {
      answers.push(
        await fetch(url).then(
          (response) => response.text(),
          () => 'closed',
        ),
      );
    };
    for (const phase of PHASES) app.get(DrainService).register({ name: phase, phase, drain });
    await app.close();
    expect(answers).toEqual(['alive', 'alive', 'closed', 'closed']);
  });

  it('keeps the process alive until the member that hangs is reported and the rest is drained', async () => {
    const script = `
      import 'reflect-metadata';
      import { DrainService, Incidents } from '@lockstep/core';
      const incidents = new Incidents();
      incidents.subscribe((incident) => console.log(incident.code));
      const drain = new DrainService(incidents, { drainTimeoutMs: 100, keyring: undefined });
      drain.register({ name: 'hangs', phase: 'intake', drain: () => new Promise(() => undefined) });
      drain.register({ name: 'sound', phase: 'work', drain: async () => console.log('drained') });
      drain.beforeApplicationShutdown();
    `;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { cwd: import.meta.dirname });
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += String(chunk);
    });
    const [code] = await once(child, 'close');
    await eventually(() => expect(output).toMatch(/DRAIN_INCOMPLETE\n[\s\S]*drained\n/));
    expect(code).toBe(0);
  });

  it('refuses a wrong timeout at boot, naming option and value', async () => {
    const booting = Test.createTestingModule({ imports: [LockstepModule.forRoot({ drainTimeout: 0 })] }).compile();
    await expect(booting).rejects.toThrow("Option 'drainTimeout' is 0");
  });
});
