export interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly replayed: boolean;
  readonly retryAfterS: number | undefined;
}

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** Asks the mall. A connection that breaks is an answer too: undefined. */
export async function send(baseUrl: string, { method, path, headers, body }: Call): Promise<Answer | undefined> {
  try {
    const response = await fetch(`${baseUrl}${path}`, {
      method,
      headers: { 'content-type': 'application/json', ...headers },
      signal: AbortSignal.timeout(30_000),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const retryAfter = response.headers.get('retry-after');
    return {
      status: response.status,
      body: (await response.json()) as Record<string, unknown>,
      replayed: response.headers.get('idempotent-replayed') === 'true',
      retryAfterS: retryAfter === null ? undefined : Number(retryAfter),
    };
  } catch (error) {
    // undici reports a broken connection as a TypeError; anything else is a fault of the tour itself.
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

/** One line about an answer, for the tour. */
export function describeAnswer(answer: Answer | undefined): string {
  if (!answer) return 'the connection broke: outcome unknown';
  const replayed = answer.replayed ? '  (Idempotent-Replayed: true)' : '';
  return `${answer.status} ${JSON.stringify(answer.body)}${replayed}${retryAfter(answer, '  ')}`;
}

/** As `describeAnswer`, but only status and code: a refusal that comes many times. */
export function describeRefusal(answer: Answer | undefined): string {
  const code = answer?.body.code;
  return answer && typeof code === 'string'
    ? `${answer.status} ${code}${retryAfter(answer, ' ')}`
    : describeAnswer(answer);
}

function retryAfter({ retryAfterS }: Answer, gap: string): string {
  return retryAfterS === undefined ? '' : `${gap}(Retry-After: ${retryAfterS})`;
}
