import { setTimeout as sleep } from 'node:timers/promises';
import type { SeededRandom } from '@lockstep/testing';
import { sharedMs } from '../lock/shared-clock.js';
import type { Seen } from './desk.controller.js';
import type { End, Observation, Span, Visit } from './visit.js';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

interface Reply {
  readonly status: number;
  readonly seen: Seen | undefined;
  readonly token: string | undefined;
  readonly sentAt: number;
  readonly at: number;
}

interface OpenVisit extends Visit {
  readonly observations: Observation[];
  readonly issues: Map<string, Span>;
  readonly ends: End[];
  /** What the browser holds. */
  token: string;
  isOver: boolean;
}

const REQUEST_TIMEOUT_MS = 6_000;
const PAUSE_MS = [5, 120] as const;
const TABS = 2;

/** A user at one device: logs in, works in several tabs at once, changes the id meanwhile, and ends it one way or another. */
export class Browser {
  readonly visits: OpenVisit[] = [];
  private value = 0;

  constructor(
    readonly user: string,
    private readonly random: SeededRandom,
    private readonly urls: () => readonly string[],
    /** Of the user, which all his devices share. */
    private readonly revocations: Span[],
  ) {}

  async browse(until: number): Promise<void> {
    while (sharedMs() < until) {
      const visit = await this.login(until);
      if (!visit) return;
      const tabs = Array.from({ length: TABS }, (_, tab) => this.work(visit, `tab${tab}`));
      if (this.random.next() < 0.4) tabs.push(this.rotate(visit));
      await Promise.all(tabs);
      if (this.random.next() < 0.7) await this.end(visit, until);
    }
  }

  /** A look at every token that this browser ever had. */
  async lookAtAll(): Promise<void> {
    for (const visit of this.visits) {
      const tokens = new Set([...visit.issues.keys(), visit.token]);
      for (const token of tokens) await this.observe(visit, token, 'seen', 'GET', 'seen');
    }
  }

  /** Handles of those that nobody has tried to end. */
  liveHandles(): string[] {
    return this.visits.flatMap((visit) => {
      const last = visit.observations.findLast(({ token, seen }) => token === visit.token && seen !== undefined);
      const issued = visit.issues.get(visit.token)?.sentAt ?? 0;
      const isRevoked = visit.revocations.some(({ at = Number.POSITIVE_INFINITY }) => at > issued);
      const isLive = !isRevoked && !visit.ends.some(({ token }) => token === visit.token);
      return isLive && last?.seen?.handle ? [last.seen.handle] : [];
    });
  }

  private async login(until: number): Promise<OpenVisit | undefined> {
    while (sharedMs() < until) {
      await sleep(this.random.integer(...PAUSE_MS));
      // Some were visitors before, and what they had then comes along.
      const before = this.random.next() < 0.5 ? await this.send('POST', 'save/before/1', undefined) : undefined;
      const reply = await this.send('POST', `login/${this.user}`, before?.token);
      if (reply.status !== 201 || !reply.token) continue;
      const { token, sentAt, at } = reply;
      const issues = new Map([[token, { sentAt, at }]]);
      const { user, revocations } = this;
      const visit: OpenVisit = { user, revocations, observations: [], issues, ends: [], token, isOver: false };
      if (before?.token !== undefined) {
        visit.ends.push({ token: before.token, by: 'login', sentAt, at });
        visit.issues.set(before.token, { sentAt: before.sentAt, at: before.at });
      }
      this.visits.push(visit);
      return visit;
    }
    return undefined;
  }

  private async work(visit: OpenVisit, name: string): Promise<void> {
    const steps = this.random.integer(2, 5);
    for (let step = 0; step < steps && !visit.isOver; step += 1) {
      await sleep(this.random.integer(...PAUSE_MS));
      const what = this.random.pick(['save', 'save', 'set', 'count', 'seen'] as const);
      if (what === 'seen') await this.observe(visit, visit.token, what, 'GET', 'seen');
      else if (what === 'count') await this.observe(visit, visit.token, what, 'POST', 'count');
      else {
        this.value += 1;
        const write = { name, value: this.value };
        await this.observe(visit, visit.token, what, 'POST', `${what}/${name}/${this.value}`, write);
      }
    }
  }

  private async rotate(visit: OpenVisit): Promise<void> {
    await sleep(this.random.integer(...PAUSE_MS));
    const { token } = visit;
    const end: Writable<End> = { token, by: 'rotation', sentAt: sharedMs(), at: undefined };
    visit.ends.push(end);
    const reply = await this.send('POST', 'rotate', token);
    if (reply.status === 201 && reply.token !== undefined && reply.token !== token) {
      end.at = reply.at;
      visit.issues.set(reply.token, { sentAt: reply.sentAt, at: reply.at });
      visit.token = reply.token;
    } else {
      // Nobody knows the new id, if there is one.
      visit.isOver = true;
    }
  }

  /** Insists until it is answered. */
  private async end(visit: OpenVisit, until: number): Promise<void> {
    visit.isOver = true;
    const isForAll = this.random.next() < 0.4;
    const { token } = visit;
    while (sharedMs() < until) {
      // One of its own for each attempt: an earlier one may have done its work long before the answer.
      const span: Writable<Span> = { sentAt: sharedMs(), at: undefined };
      const end: Writable<End> = Object.assign(span, { token, by: 'logout' });
      if (isForAll) this.revocations.push(span);
      else visit.ends.push(end);
      const path = isForAll ? `revoke-all/${this.user}` : 'logout';
      const { status, at } = await this.send('POST', path, isForAll ? undefined : token);
      if (status === 201) {
        span.at = at;
        return;
      }
      await sleep(this.random.integer(...PAUSE_MS));
    }
  }

  private async observe(
    visit: OpenVisit,
    token: string,
    what: Observation['what'],
    method: string,
    path: string,
    write: { readonly name?: string; readonly value?: number } = {},
  ): Promise<void> {
    // Noted before it is sent: another tab may see it before it is answered.
    const index = visit.observations.length;
    const sentAt = sharedMs();
    const unanswered = { what, token, sentAt, at: Number.POSITIVE_INFINITY, status: 0, seen: undefined, ...write };
    visit.observations.push(unanswered);
    const { status, seen, at } = await this.send(method, path, token);
    visit.observations[index] = { ...unanswered, at, status, seen };
  }

  private async send(method: string, path: string, token: string | undefined): Promise<Reply> {
    const urls = this.urls();
    const sentAt = sharedMs();
    const none = { status: 0, seen: undefined, token: undefined, sentAt };
    if (urls.length === 0) return { ...none, at: sharedMs() };
    try {
      const response = await fetch(`${this.random.pick(urls)}/${path}`, {
        method,
        headers: token === undefined ? {} : { cookie: `sid=${token}` },
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
      const text = await response.text();
      const seen = response.ok && text.includes('"attributes"') ? (JSON.parse(text) as Seen) : undefined;
      const [cookie] = response.headers.getSetCookie();
      const given = cookie && /^sid=([^;]+)/.exec(cookie)?.[1];
      return { status: response.status, seen, token: given, sentAt, at: sharedMs() };
    } catch (error) {
      // Killed, frozen or restarted under the request.
      if (!(error instanceof TypeError || error instanceof DOMException || error instanceof SyntaxError)) throw error;
      return { ...none, at: sharedMs() };
    }
  }
}
