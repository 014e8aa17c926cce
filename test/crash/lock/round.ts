import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EventuallyTimeoutError, eventually, seededRandom, startRedis } from '@lockstep/testing';
import { Crew } from './crew.js';
import { checkHistory, holdsOf } from './history.js';
import { type Arena, addRows, auditRegisters, type RegisterState, readRegisters } from './ledger.js';
import { rage } from './storm.js';
import { Weather } from './weather.js';

export interface RoundReport {
  readonly violations: readonly string[];
  readonly kills: number;
  /** Changes that the register without a fence confirmed and lost. */
  readonly controlLosses: number;
  readonly summary: string;
}

export interface RoundSize {
  readonly workers: number;
  /** How long faults strike. */
  readonly stormMs: number;
}

const KEYS = ['sku:1', 'sku:2'];
const TTL_MS = 1_000;
const COMMAND_TIMEOUT_MS = 300;
/** On a machine that is busy with the faults, answers take their time. */
const BOUNDS = { ttlMs: TTL_MS, answerMs: 500 };
const START_TIMEOUT_MS = 60_000;
const RECOVERY_TIMEOUT_MS = 20_000;

/** One round: workers contend while faults strike; afterwards all are served again, and the books must balance. */
export async function playRound(arena: Arena, seed: number, { workers, stormMs }: RoundSize): Promise<RoundReport> {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-chaos-'));
  const namespace = `c${randomBytes(6).toString('hex')}`;
  await addRows(arena, namespace, KEYS);
  const server = await startRedis({ appendonly: 'always' });
  const setting = { namespace, keys: KEYS, ttlMs: TTL_MS, commandTimeoutMs: COMMAND_TIMEOUT_MS };
  const crew = await Crew.start(workers, { ...arena, ...setting, serverUrl: server.url, folder }, seededRandom(seed));
  const weather = new Weather();
  const violations: string[] = [];
  try {
    await allServed(crew);
    await rage({ crew, server, namespace, keys: KEYS, ttlMs: TTL_MS }, weather, seed, stormMs);
    violations.push(...(await checkRecovery(crew)));
    violations.push(...(await crew.stop()));
    return judge(crew, weather, await readRegisters(arena, namespace, KEYS), violations);
  } finally {
    await crew.stop();
    await server.stop();
    rmSync(folder, { recursive: true });
  }
}

/** The workers work: each has had a lock. */
async function allServed(crew: Crew): Promise<void> {
  const idle = (): boolean => crew.workers.some(({ state }) => (state?.grants ?? 0) === 0);
  await eventually(() => expectNot(idle(), 'a worker was never served'), { timeoutMs: START_TIMEOUT_MS });
}

/** With the faults gone, everybody gets a lock again. */
async function checkRecovery(crew: Crew): Promise<string[]> {
  const before = new Map(crew.workers.map((worker) => [worker, worker.state?.grants ?? 0]));
  const starving = (): string[] =>
    crew.workers.filter((worker) => (worker.state?.grants ?? 0) <= (before.get(worker) ?? 0)).map(({ name }) => name);
  try {
    await eventually(() => expectNot(starving().length > 0, 'some are not served'), { timeoutMs: RECOVERY_TIMEOUT_MS });
    return [];
  } catch (error) {
    if (!(error instanceof EventuallyTimeoutError)) throw error;
    return starving().map((name) => `${name} got no lock any more after the faults`);
  }
}

function expectNot(isSo: boolean, message: string): void {
  if (isSo) throw new Error(message);
}

function judge(
  crew: Crew,
  weather: Weather,
  registers: readonly RegisterState[],
  before: readonly string[],
): RoundReport {
  const notes = crew.lives.flatMap((life) => life.notes);
  const holds = crew.lives.flatMap((life) => holdsOf(life.notes, life.killedAt));
  const audit = auditRegisters(registers, notes);
  const violations = [
    ...before,
    ...notes.flatMap((note) => (note.type === 'odd' ? [`${note.what} failed oddly: ${note.text}`] : [])),
    ...checkHistory(holds, weather.losses(TTL_MS), BOUNDS),
    ...audit.violations,
  ];
  const refused = notes.filter((note) => note.type === 'failed' && note.code === 'STALE_FENCE').length;
  const confirmed = notes.filter((note) => note.type === 'changed').length;
  return {
    violations,
    kills: crew.kills,
    controlLosses: audit.controlLosses,
    summary:
      `${holds.length} holds, ${confirmed} changes confirmed, ${refused} refused by their fences; ` +
      `the control lost ${audit.controlLosses}; ${weather.summary}`,
  };
}
