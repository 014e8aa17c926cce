import type { Attempt, LocatedServer } from './located-server.js';
import { onPath, runTool } from './run-tool.js';

/** A Docker engine that answers, with the image pulled, so that a slow pull does not count as a slow start. */
export async function locateImage(image: string, version: string): Promise<Attempt<LocatedServer>> {
  if (onPath('docker') === undefined) return { missing: 'docker: not on PATH' };
  const engine = await runTool('docker', ['version', '--format', '{{.Server.Version}}'], { timeout: 10_000 });
  if (!engine.ok) return { missing: `docker: no engine answers (${engine.problem})` };
  const present = await runTool('docker', ['image', 'inspect', image]);
  if (!present.ok) {
    const pull = await runTool('docker', ['pull', '--quiet', image]);
    if (!pull.ok) return { missing: `docker: cannot pull ${image} (${pull.problem})` };
  }
  return { found: { source: 'docker', binary: 'docker', version, env: {}, image } };
}
