import { randomBytes } from 'node:crypto';
import type { ReplaceRequest, SaveRequest, SessionStore } from '@lockstep/session';
import type { Actor } from '@lockstep/testing';
import { HOUR_MS, saveOf } from './session-drafts.js';
import type { SessionModel } from './session-model.js';

/** Writes an attribute of its own, by the id that the session had at first, each time twice, as a client may. */
export function saver(model: SessionModel, name: string, times = 1): Actor {
  return async (step) => {
    for (let round = 1; round <= times; round += 1) {
      if (round > 1) await step(`save ${round}`);
      const request = saveOf(model.visitor, { [name]: `${round}` });
      model.saved(name, `${round}`, await model.store.save(request));
      await step(`save ${round} again`);
      model.saved(name, `${round}`, await model.store.save(request));
    }
  };
}

/** Counts one up by what it has read, and sends that twice; again, if another was faster. */
export function updater(model: SessionModel): Actor {
  return async (step) => {
    for (;;) {
      const attribute = (await model.look(model.visitor))?.attributes.get('counter');
      if (!attribute) return;
      await step('write what was computed');
      const request: SaveRequest = {
        key: model.visitor,
        set: new Map([['counter', `${Number(attribute.text) + 1}`]]),
        remove: [],
        expect: { attribute: 'counter', revision: attribute.revision },
        save: randomBytes(12).toString('base64url'),
      };
      const { outcome } = await model.store.save(request);
      if (outcome === 'saved') model.updated();
      await step('write it again');
      const { outcome: again } = await model.store.save(request);
      if (outcome === 'saved' && again === 'conflict') model.fail('a save that was kept is refused when repeated');
      if (outcome === 'conflict' && again === 'saved') model.fail('a save that was refused is kept when repeated');
      if (outcome !== 'conflict') return;
    }
  };
}

/** Logs the visitor in, twice. @param store of its own, where its steps are watched */
export function loginBy(model: SessionModel, store: SessionStore = model.store): Actor {
  return async (step) => {
    const request: ReplaceRequest = { from: model.visitor, draft: model.loginDraft(), manner: 'login' };
    const outcome = await store.replace(request);
    model.replaced(request, outcome);
    await step('login again');
    const again = await store.replace(request);
    if (outcome.outcome === 'gone' && again.outcome !== 'gone') model.fail('a login that was refused was made');
  };
}

export function renewer(model: SessionModel): Actor {
  return async (step) => {
    const request: ReplaceRequest = {
      from: model.visitor,
      draft: model.renewalDraft(),
      manner: 'renew',
      graceMs: HOUR_MS,
    };
    const outcome = await model.store.replace(request);
    model.replaced(request, outcome);
    if (outcome.outcome !== 'replaced') return;
    await step('use the new id');
    const record = await model.store.load({ key: request.draft.key, touchAfterMs: 0 });
    if (!record) return;
    await step('save by the new id');
    model.saved('renewed', '1', await model.store.save(saveOf(request.draft.key, { renewed: '1' })));
  };
}

/** Ends all sessions of the user, twice. */
export function remover(model: SessionModel): Actor {
  return async (step) => {
    model.removed(await model.store.remove({ group: model.user }));
    await step('remove all again');
    model.removed(await model.store.remove({ group: model.user }));
  };
}

/** Logs the visitor out, by the id that the session had at first. */
export function leaver(model: SessionModel): Actor {
  return async () => {
    model.removed(await model.store.remove({ group: model.visitor.group, ids: [model.visitor.id] }));
  };
}
