import type { Books, Run, StepNote } from './bank.js';
import type { Answer } from './customers.js';
import { type Order, ROUTES } from './routes.js';

/** All that is known of one key at the end, when everything has settled. */
export interface History extends Books {
  readonly order: Order;
  readonly answers: readonly Answer[];
  /** After the faults, when no answer may change any more. */
  readonly final: Answer | undefined;
  /** Whether a process may have died between its claim and its handler. */
  readonly wereKills: boolean;
}

const ODD_IS_NOT = new Set([0, 201, 402, 422, 503]);
/** The last one is what a run with steps is told whose lease is over. */
const CONFLICTS = new Set(['OPERATION_IN_PROGRESS', 'OPERATION_UNCERTAIN', 'OPERATION_LOST']);

/** Every sentence that comes back is a broken promise. */
export function checkHistory(history: History): string[] {
  const found = [
    ...history.answers.flatMap((answer) => checkStatus(history.order, answer)),
    ...checkSameness(history),
    ...checkCharges(history),
    ...checkRuns(history),
    ...checkSteps(history.steps),
    ...checkUncertain(history),
    ...checkFinal(history),
  ];
  return [...new Set(found)].map((problem) => `${history.order.route} ${history.order.key}: ${problem}`);
}

/** What happened to the key, in its order: for whoever looks for the cause. */
export function timelineOf({ order, answers, runs, charges, steps }: History): string {
  const asked = answers.map((answer) => ({
    at: answer.sentAt,
    text: `asked, after ${Math.round(answer.at - answer.sentAt)} ms: ${answer.status} ${answer.code || answer.text}`,
  }));
  const ran = runs.map(({ fence, sentAt, at }) => ({ at, text: `run under ${fence} for the request of ${sentAt}` }));
  const lines = [...asked, ...ran].sort((one, other) => one.at - other.at).map(({ at, text }) => `${at}: ${text}`);
  const booked = charges.map(({ step, fence }) => `${step} booked under ${fence}`);
  const noted = steps.map(({ step, what, fence }) => `${step} ${what} under ${fence}`);
  return [JSON.stringify(order), ...lines, ...booked, ...noted].map((line) => `    ${line}`).join('\n');
}

function checkStatus({ route, kind }: Order, { status, code, text, isOther }: Answer): string[] {
  const isDeclined = status !== 402 || kind === 'decline';
  const isReused = status !== 422 || isOther;
  if (ODD_IS_NOT.has(status) && isDeclined && isReused) return [];
  const isOvertaken = ROUTES[route].isGuarded && code === 'STALE_CHARGE';
  if (status === 409 && (CONFLICTS.has(code) || isOvertaken)) return [];
  return [`it was answered ${status} ${text}`];
}

/** The first answer of the handler's own, by the time at which it was heard. */
function firstOf(answers: readonly Answer[]): Answer | undefined {
  return answers
    .filter(isOwn)
    .reduce<Answer | undefined>((first, next) => (first && first.at <= next.at ? first : next), undefined);
}

function isOwn({ status }: Answer): boolean {
  return status === 201 || status === 402;
}

/** Byte for byte the same answer to all, and none to another payload. */
function checkSameness({ answers }: History): string[] {
  const first = firstOf(answers);
  if (!first) return [];
  const others = answers.filter((answer) => isOwn(answer) && !isSame(answer, first));
  const strangers = answers.filter((answer) => isOwn(answer) && answer.isOther);
  return [
    ...others.map((other) => `it was answered ${printed(first)} and also ${printed(other)}`),
    ...strangers.map((stranger) => `another payload was answered ${printed(stranger)}`),
  ];
}

function isSame(one: Answer, other: Answer): boolean {
  return one.status === other.status && one.text === other.text && one.location === other.location;
}

function printed({ status, text, location }: Answer): string {
  return `${status} ${text} (${location})`;
}

/** Money moves at most once, and exactly once where a customer was told that it has, of the charge that was named. */
function checkCharges({ order, answers, charges }: History): string[] {
  const paid = answers.find(({ status }) => status === 201);
  const isStepped = order.kind === 'steps' || ROUTES[order.route].completes;
  const due = isStepped && order.kind !== 'decline' ? ['charge', 'ship'] : ['charge'];
  return due.flatMap((step) => {
    const booked = charges.filter((charge) => charge.step === step);
    const problems = booked.length > 1 ? [`${step} was booked ${booked.length} times`] : [];
    if (paid && booked.length === 0) problems.push(`it was answered ${printed(paid)}, and ${step} was not booked`);
    const isNamed = !paid || step !== 'charge' || booked.some(({ id }) => paid.text.includes(id));
    if (paid && booked.length > 0 && !isNamed) problems.push(`it was answered ${printed(paid)}, which was not booked`);
    if (order.kind === 'decline' && booked.length > 0) problems.push(`it was declined, and ${step} was booked`);
    return problems;
  });
}

/** Under `'uncertain'` nobody runs again; under `'retry'` fences tell who came later. */
function checkRuns({ order, runs, answers }: History): string[] {
  const { policy, completes } = ROUTES[order.route];
  const problems =
    policy === 'uncertain' && !completes && runs.length > 1 ? [`the handler ran ${runs.length} times`] : [];
  // A completer may rightly say of a refusal that nothing has happened.
  const first = completes ? firstOf(answers.filter(({ status }) => status === 201)) : firstOf(answers);
  const isLate = ({ sentAt = 0 }: Run): boolean => first !== undefined && policy === 'uncertain' && sentAt > first.at;
  problems.push(...runs.filter(isLate).map(({ fence }) => `a run under ${fence} began after it was answered`));
  for (const [index, run] of runs.entries()) {
    for (const other of runs.slice(index + 1)) problems.push(...checkFences(run, other));
  }
  return problems;
}

function checkFences(one: Run, other: Run): string[] {
  if (one.fence === other.fence) return [`two runs have the fence ${one.fence}`];
  const isAfter = (later: Run, earlier: Run): boolean => later.sentAt !== undefined && later.sentAt > earlier.at;
  const isWrong = (isAfter(one, other) && one.fence < other.fence) || (isAfter(other, one) && other.fence < one.fence);
  return isWrong ? [`a later run has a lower fence: ${one.fence} and ${other.fence}`] : [];
}

/** No step runs twice in one run, or at all once a run has stored its result. */
function checkSteps(steps: readonly StepNote[]): string[] {
  const touched = steps.filter(({ what }) => what === 'touched');
  const stored = steps.filter(({ what }) => what === 'stored');
  return touched.flatMap(({ step, fence }, index) => {
    const isTwice = touched.findIndex((note) => note.step === step && note.fence === fence) !== index;
    const before = stored.find((note) => note.step === step && note.fence < fence);
    return [
      ...(isTwice ? [`step ${step} ran twice under ${fence}`] : []),
      ...(before ? [`step ${step} was stored under ${before.fence} and ran again under ${fence}`] : []),
    ];
  });
}

/**
 * Uncertain is left by its owner, a completer or an operator: never by somebody who begins. An owner without a run is one
 * whose begin was not answered, and which takes it back.
 */
function checkUncertain({ order, answers, runs }: History): string[] {
  if (ROUTES[order.route].completes) return [];
  const told = answers.filter(({ status, code }) => status === 409 && code === 'OPERATION_UNCERTAIN');
  const since = Math.min(...told.map(({ at }) => at));
  if (!runs.some(({ at }) => at < since)) return [];
  const late = runs.filter(({ sentAt }) => sentAt !== undefined && sentAt > since);
  return late.map(({ fence }) => `a run under ${fence} began after it was called uncertain`);
}

function checkFinal({ order, answers, final, runs, wereKills }: History): string[] {
  const { policy, completes } = ROUTES[order.route];
  if (!final || !(isOwn(final) || final.code === 'OPERATION_UNCERTAIN')) {
    return [`it never settled: ${final ? printed(final) : 'no answer'}`];
  }
  const problems: string[] = [];
  const mayBeUncertain = order.kind === 'unknown' || policy === 'uncertain';
  if (!isOwn(final) && (completes || !mayBeUncertain)) problems.push('it stays uncertain');
  if (!isOwn(final) && runs.length === 0 && !wereKills) problems.push('it is uncertain, and no handler was started');
  if (isOwn(final) && order.kind === 'unknown' && !completes)
    problems.push('its owner called it unknown, and it is settled');
  const first = firstOf(answers);
  if (first && isOwn(final) && !isSame(first, final)) problems.push(`at last it was answered ${printed(final)}`);
  return problems;
}
