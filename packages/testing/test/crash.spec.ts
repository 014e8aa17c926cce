import { type ChildHandle, ChildWaitError, eventually, type SpawnNodeOptions, spawnNode } from '@lockstep/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { isAlive } from './processes.js';

const fixture = new URL('./fixtures/checkpoints.mjs', import.meta.url);
const children: ChildHandle[] = [];

function start(options: SpawnNodeOptions = {}): ChildHandle {
  const child = spawnNode(fixture, options);
  children.push(child);
  return child;
}

afterEach(() => Promise.all(children.splice(0).map((child) => child.sigkill())));

describe('spawnNode()', () => {
  it('kills at the named hit and not one instruction later', async () => {
    const child = start({ killAt: { name: 'work', hit: 3 } });
    expect(await child.exited).toEqual({ code: null, signal: 'SIGKILL' });
    expect(child.lines.at(-1)).toBe('after 2');
    expect(child.hits('work')).toBe(3);
  });

  it('a bare name is the first hit', async () => {
    const child = start({ killAt: 'work' });
    await child.exited;
    expect(child.lines.some((line) => line.startsWith('after'))).toBe(false);
  });

  it('stops at a checkpoint until told to go on', async () => {
    const child = start({ pauseAt: { name: 'work', hit: 2 } });
    await child.reached({ name: 'work', hit: 2 });
    await expect(child.waitForLine(/^after 2$/, 200)).rejects.toThrow(ChildWaitError);
    child.sigcont();
    await child.waitForLine(/^after 3$/);
  });

  it('freezes and thaws from outside', async () => {
    const child = start();
    await child.reached('work');
    child.sigstop();
    const hits = await eventually(async () => {
      const before = child.hits('work');
      await expect(child.reached({ name: 'work', hit: before + 1 }, 100)).rejects.toThrow(ChildWaitError);
      return before;
    });
    child.sigcont();
    await eventually(() => expect(child.hits('work')).toBeGreaterThan(hits));
  });

  it('passes arguments, environment and messages', async () => {
    const child = start({ args: ['--one'], env: { GREETING: 'hello' } });
    await child.waitForLine(/^ready --one hello$/);
    child.send({ question: 1 });
    expect(await child.waitForMessage(() => true)).toEqual({ echo: { question: 1 } });
  });

  it('shows an unhandled rejection and leaves it fatal', async () => {
    const child = start({ args: ['--reject'] });
    expect((await child.exited).code).toBe(1);
    expect(child.unhandledRejections).toHaveLength(1);
    expect(child.unhandledRejections[0]).toContain('nobody catches this');
  });

  it('shows an unhandled rejection that a listener of the child hides', async () => {
    const child = start({ args: ['--reject-handled'] });
    await child.reached({ name: 'work', hit: 3 });
    expect(child.unhandledRejections[0]).toContain('only a listener sees this');
  });

  it('a wait ends with the child and quotes what it said', async () => {
    const child = start({ killAt: { name: 'work', hit: 2 } });
    await expect(child.waitForLine(/never/)).rejects.toThrow(/ended \(SIGKILL\).*after 1/s);
  });

  it('a child does not outlive a test run that was killed', async () => {
    const run = spawnNode(new URL('./fixtures/start-child.mjs', import.meta.url));
    const pid = Number((await run.waitForLine(/^child \d+$/)).split(' ')[1]);
    expect(isAlive(pid)).toBe(true);
    await run.sigkill();
    await eventually(() => expect(isAlive(pid)).toBe(false));
  });
});
