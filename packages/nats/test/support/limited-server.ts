import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, startNats } from '@lockstep/testing';

interface Subjects {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
}

export interface LimitedServer {
  readonly url: string;
  /** Of the only user that it knows. */
  readonly credentials: { readonly user: string; readonly pass: string };
  stop(): Promise<void>;
}

/** A server whose only user has these permissions. */
export async function startLimited(permissions: {
  readonly publish?: Subjects;
  readonly subscribe?: Subjects;
}): Promise<LimitedServer> {
  const credentials = { user: 'mall', pass: 'secret' };
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-nats-'));
  const config = join(folder, 'server.conf');
  const user = { user: credentials.user, password: credentials.pass, permissions };
  writeFileSync(config, `authorization: ${JSON.stringify({ users: [user] })}`);
  const server = await startNats({ port: await freePort(), args: ['--config', config] });
  return {
    url: server.url,
    credentials,
    stop: async () => {
      await server.stop();
      rmSync(folder, { recursive: true });
    },
  };
}
