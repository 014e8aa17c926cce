import type {
  ReplaceOutcome,
  ReplaceRequest,
  SaveOutcome,
  SessionDraft,
  SessionKey,
  SessionRecord,
  SessionStore,
} from '@lockstep/session';
import { newGroup, newKey, userDraft, visitorDraft } from './session-drafts.js';

/** What is known of a visitor's session while the explorer lets things happen to it, and what must stay true of it. */
export class SessionModel {
  readonly visitor = newKey();
  readonly user = newGroup();
  /** Every id that was to be this session, or to follow it. */
  private readonly lineage: SessionKey[] = [this.visitor];
  /** Of logins that nobody has answered: a process that died may leave a copy behind that nobody can use. */
  private readonly unanswered = new Set<string>();
  /** What was answered as ended is never readable again. */
  private readonly dead = new Set<string>();
  private readonly written = new Map<string, string>();
  private updates = 0;
  private isRemoved = false;
  private violation: string | undefined;

  constructor(readonly store: SessionStore) {}

  async begin(): Promise<void> {
    const draft = visitorDraft({ key: this.visitor });
    await this.store.create({ draft, attributes: new Map([['counter', '0']]) });
  }

  loginDraft(): SessionDraft {
    const draft = userDraft(this.user);
    this.lineage.push(draft.key);
    this.unanswered.add(draft.key.id);
    return draft;
  }

  renewalDraft(): SessionDraft {
    const draft = visitorDraft({ key: newKey(this.visitor.group) });
    this.lineage.push(draft.key);
    return draft;
  }

  look(key: SessionKey): Promise<SessionRecord | undefined> {
    return this.store.load({ key, touchAfterMs: Number.POSITIVE_INFINITY });
  }

  saved(name: string, value: string, outcome: SaveOutcome): void {
    if (outcome.outcome === 'saved') this.written.set(name, value);
  }

  updated(): void {
    this.updates += 1;
  }

  replaced({ draft, manner, from }: ReplaceRequest, outcome: ReplaceOutcome): void {
    this.unanswered.delete(draft.key.id);
    if (outcome.outcome === 'gone' && manner !== 'renew') this.dead.add(draft.key.id);
    if (outcome.outcome !== 'replaced' || manner === 'renew') return;
    for (const key of this.lineage) if (key.group === this.visitor.group) this.dead.add(key.id);
    if (this.dead.has(draft.key.id) && !this.isRemoved) this.fail(`${draft.key.id} came back`);
    if (from.id === draft.key.id) this.fail('it follows itself');
  }

  removed(ids: readonly string[]): void {
    for (const id of ids) {
      if (this.dead.has(id)) this.fail(`${id} ended twice`);
      this.dead.add(id);
      this.isRemoved ||= this.lineage.some((key) => key.id === id);
    }
  }

  fail(message: string): void {
    this.violation ??= message;
  }

  /** At every moment: the dead are dead, and of the living those of a user are listed. */
  async check(): Promise<void> {
    if (this.violation) throw new Error(this.violation);
    const [list, ...records] = await Promise.all([
      this.store.list(this.user),
      ...this.lineage.map((key) => this.look(key)),
    ]);
    const revived = this.lineage.find(({ id }, index) => this.dead.has(id) && records[index]);
    if (revived) throw new Error(`${revived.id} is readable though it has ended`);
    const listed = list.sessions.map(({ key }) => key.id).sort();
    const live = records.filter((record) => record?.principal !== undefined).map((record) => record?.key.id);
    if (listed.join() !== live.sort().join()) throw new Error(`live ${live.join()}, but listed ${listed.join()}`);
    if (list.expired.length > 0) throw new Error(`${list.expired.join()} was listed without being there`);
    const holders = new Map(records.map((record) => [record?.key.id ?? '', record]));
    holders.delete('');
    for (const id of this.unanswered) holders.delete(id);
    if (holders.size > 1) throw new Error(`two live sessions of one: ${[...holders.keys()].join()}`);
    const [holder] = holders.values();
    if (holder) this.checkAttributes(holder);
    else if (!this.isRemoved && !this.isBeingReplaced()) throw new Error('it vanished though nobody ended it');
  }

  /** The old one has ended, and the answer that says so is on its way. */
  private isBeingReplaced(): boolean {
    return this.unanswered.size > 0;
  }

  private checkAttributes({ attributes }: SessionRecord): void {
    for (const [name, value] of this.written) {
      const text = attributes.get(name)?.text;
      if (text !== value) throw new Error(`${name} is ${text}, though ${value} was answered`);
    }
    const counter = Number(attributes.get('counter')?.text);
    if (counter !== this.updates) throw new Error(`${this.updates} updates were answered, but it counts ${counter}`);
  }
}
