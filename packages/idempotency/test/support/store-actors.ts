import type { BeginOutcome, MemoryIdempotencyStore, Resolution, Settlement } from '@lockstep/idempotency';
import type { Actor } from '@lockstep/testing';
import { LONG_MS, RETENTION_MS, type StoreModel } from './store-model.js';

export const done: Settlement = { to: 'completed', response: '"done"', retentionMs: RETENTION_MS };
export const released: Settlement = { to: 'released', notApplied: false, retentionMs: RETENTION_MS };
export const unknown: Settlement = { to: 'uncertain' };
export const freed: Resolution = { to: 'released', retentionMs: RETENTION_MS };
export const told: Resolution = { to: 'completed', response: '"told"', retentionMs: RETENTION_MS };
const notApplied: Settlement = { to: 'released', notApplied: true, retentionMs: RETENTION_MS };

/**
 * Begins (twice, as a client library may), renews, keeps a step, ends (twice), and at last a copy of its begin arrives.
 */
export function owner(model: StoreModel, name: string, settlement: Settlement, requiresIssue = false): Actor {
  const begin = async (): Promise<BeginOutcome> => {
    const wasIssued = model.isIssued;
    const outcome = await model.store.begin(model.request(name, { requiresIssue }));
    if (outcome.outcome === 'absent' && wasIssued) model.fail(`${name} was told that what was issued is absent`);
    if (outcome.outcome === 'acquired' && requiresIssue && !model.isIssued)
      model.fail(`${name} began what is not issued`);
    model.begun(name, outcome);
    return outcome;
  };
  return async (step) => {
    await step('begin');
    if ((await begin()).outcome !== 'acquired') return;
    await step('begin again');
    await begin();
    await renewAndEnd(model, name, settlement, step);
    await step('begin arrives late');
    const mustBeRefused = model.isOwner(name) && model.hasEnded(name);
    if ((await begin()).outcome === 'acquired' && mustBeRefused) model.fail(`${name} owns what it has ended`);
  };
}

/** Takes an abandoned operation over, twice, and ends it. */
export function adopter(model: StoreModel, name: string, settlement: Settlement): Actor {
  const request = { id: model.id, owner: name, leaseMs: LONG_MS, retentionMs: RETENTION_MS };
  return async (step) => {
    for (const again of ['adopt', 'adopt again']) {
      await step(again);
      const adopted = await able(model).adopt(request);
      if (adopted.outcome === 'gone' && again === 'adopt') return;
      if (adopted.outcome === 'acquired') model.adopted(name, adopted);
    }
    await renewAndEnd(model, name, settlement, step);
  };
}

/** Its begin is applied, but the answer is lost: nobody runs, and the claim is taken back. */
export function unheard(model: StoreModel, name: string): Actor {
  return async (step) => {
    await step('begin without an answer');
    model.leftBehind.add(name);
    const outcome = await model.store.begin(model.request(name));
    model.begun(name, outcome);
    if (outcome.outcome !== 'acquired') model.leftBehind.delete(name);
    await step('take back');
    const isTaken = await model.store.settle({ id: model.id, owner: name }, notApplied);
    if (isTaken) model.ended(name, notApplied);
    model.leftBehind.delete(name);
  };
}

export function operator(model: StoreModel, resolution: Resolution): Actor {
  return async (step) => {
    await step('resolve');
    if (await model.store.resolve(model.id, resolution)) model.resolved(resolution);
  };
}

export function issuer(model: StoreModel): Actor {
  return async (step) => {
    for (const again of ['issue', 'issue again']) {
      await step(again);
      await able(model).issue(model.id, RETENTION_MS);
      model.isIssued = true;
    }
  };
}

export function clock(model: StoreModel): Actor {
  return async (step) => {
    for (const round of ['first', 'second']) {
      await step(`${round} lease ends`);
      await model.leaseEnds();
    }
  };
}

export function sweeper(model: StoreModel): Actor {
  return async (step) => {
    await step('sweep');
    await model.store.sweep(10);
  };
}

async function renewAndEnd(
  model: StoreModel,
  name: string,
  settlement: Settlement,
  step: (label: string) => Promise<void>,
): Promise<void> {
  const claim = { id: model.id, owner: name };
  const renew = async (): Promise<void> => {
    const [renewal] = await model.store.renew([{ ...claim, leaseMs: LONG_MS, retentionMs: RETENTION_MS }]);
    if (renewal === 'renewed') model.renewed(name);
  };
  await step('renew');
  await renew();
  await step('save step');
  if (await able(model).saveStep(claim, 'charge', name)) model.saved(name, 'charge', name);
  await step('settle');
  const isSettled = await model.store.settle(claim, settlement);
  if (isSettled) model.ended(name, settlement);
  // A heartbeat may have been on its way.
  await step('renewal arrives late');
  await renew();
  await step('settle again');
  const isStill = await model.store.settle(claim, settlement);
  // The late renewal may have set it running again.
  if (isStill && settlement.to === 'uncertain') model.ended(name, settlement);
  // After a release or an adoption another owner may have come, and then the repetition rightly says no.
  if (isSettled && !isStill && model.isOwner(name)) model.fail(`${name}: a repeated settlement differs`);
}

/** What the stores of this package can do beyond the port. */
function able(model: StoreModel): Pick<MemoryIdempotencyStore, 'adopt' | 'saveStep' | 'issue'> {
  return model.store as unknown as MemoryIdempotencyStore;
}
