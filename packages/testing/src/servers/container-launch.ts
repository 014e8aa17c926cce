import { randomBytes } from 'node:crypto';
import type { Launch } from './server-process.js';

export interface ContainerShape {
  /** Port on 127.0.0.1 of this machine. */
  readonly port: number;
  /** Port that the server listens on inside. */
  readonly inside: number;
  /** Folder of this machine that holds the data, so that a killed container can be started again with it. */
  readonly folder: string;
  readonly mount: string;
  readonly env?: readonly string[];
}

/** A foreground `docker run` that publishes one port on the loopback and runs as this user. */
export function containerLaunch(
  image: string,
  shape: ContainerShape,
  command: readonly string[],
): Omit<Launch, 'folder' | 'isFolderOurs'> {
  const container = `lockstep-${randomBytes(6).toString('hex')}`;
  const user = `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`;
  const args = ['run', '--rm', '--name', container, '--user', user];
  args.push('-p', `127.0.0.1:${shape.port}:${shape.inside}`, '-v', `${shape.folder}:${shape.mount}`);
  for (const variable of shape.env ?? []) args.push('-e', variable);
  return { command: 'docker', args: [...args, image, ...command], env: {}, userId: undefined, container };
}
