import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

interface StartedServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** A server of the whole run that is started when the first spec asks for it. */
export interface OnDemandServer {
  /** Where the workers, which are other processes, ask: `http://127.0.0.1:…`. */
  readonly url: string;
  /** Ends the server, if anybody has asked for it. */
  stop(): Promise<void>;
}

export async function offerOnDemand(start: () => Promise<StartedServer>): Promise<OnDemandServer> {
  let started: Promise<StartedServer> | undefined;
  const desk = createServer((_, response) => {
    started ??= start();
    started.then(
      ({ url }) => response.end(url),
      // Whoever asks next is told the same: what is missing on this machine does not appear during a run.
      (error: unknown) => response.writeHead(503).end(error instanceof Error ? error.message : String(error)),
    );
  });
  desk.listen(0, '127.0.0.1');
  await once(desk, 'listening');
  desk.unref();
  const stop = async (): Promise<void> => {
    desk.close();
    desk.closeAllConnections();
    const [result] = await Promise.allSettled([started]);
    if (result.status === 'fulfilled') await result.value?.stop();
  };
  return { url: `http://127.0.0.1:${(desk.address() as AddressInfo).port}`, stop };
}

/** The URL of the server behind `place`, which is that URL itself or where to ask for it; the first one waits. */
export async function askOnDemand(place: string): Promise<string> {
  if (!place.startsWith('http:')) return place;
  const response = await fetch(place);
  const answer = await response.text();
  if (!response.ok) throw new Error(answer);
  return answer;
}
