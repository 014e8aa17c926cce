import { Readable } from 'node:stream';
import type { CapturedBody } from './captured-body.js';

/**
 * Passes a stream on, and its bytes to a body. When the reader leaves in the middle the rest is read all the same, as
 * long as the body has use for it and the claim is ours: the client that lost its connection is who will ask again.
 */
export function tee(source: Readable, body: CapturedBody, signal: () => AbortSignal): Readable {
  const chunks = source.iterator({ destroyOnReturn: false });
  const passed = Readable.from(passOn(chunks, body), { objectMode: source.readableObjectMode });
  // Also when nobody has begun to read: then no generator learns that it was left.
  const whole = new Promise<void>((resolve) => passed.once('close', resolve));
  body.readFrom(whole.then(async () => readRest(source, chunks, body, signal())));
  return passed;
}

export function isTeeable(source: unknown): source is Readable {
  return source instanceof Readable && !source.destroyed;
}

async function* passOn(chunks: AsyncIterator<unknown>, body: CapturedBody): AsyncGenerator<unknown, void, void> {
  for (;;) {
    const next = await nextOf(chunks, body);
    if (next.done) return;
    body.add(next.value);
    yield next.value;
  }
}

async function nextOf(chunks: AsyncIterator<unknown>, body: CapturedBody): Promise<IteratorResult<unknown>> {
  try {
    return await chunks.next();
  } catch (error) {
    body.lose('a stream that failed', error);
    throw error;
  }
}

async function readRest(
  source: Readable,
  chunks: AsyncIterator<unknown>,
  body: CapturedBody,
  signal: AbortSignal,
): Promise<void> {
  const stop = (): unknown => source.destroy();
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  try {
    for (;;) {
      if (body.lost) break;
      const { done, value } = await chunks.next();
      if (done) break;
      body.add(value);
    }
  } catch (error) {
    body.lose('a stream that failed', error);
  }
  signal.removeEventListener('abort', stop);
  stop();
}
