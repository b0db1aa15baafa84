import { type ChildProcess, fork } from 'node:child_process';
import type { Path } from '../driver.ts';

export interface Hop {
  child: ChildProcess;
  pid: number;
  port: number;
}

/** Starts a hop, a file of this folder, and waits until it says where it listens. It ends with this process. */
export async function startHop(file: string, ...args: (string | number)[]): Promise<Hop> {
  const child = fork(new URL(file, import.meta.url), args.map(String), { execArgv: [] });
  const port = await new Promise<number>((resolve, reject) => {
    child.once('message', (message) => resolve((message as { port: number }).port));
    child.once('exit', (code) => reject(new Error(`${file} exited with ${code}`)));
  });
  return { child, pid: child.pid as number, port };
}

/**
 * Two hops where the visitors' end asks the far one to dial it, as tunnels do. The near one says its port of visitors and
 * takes `{id}` from nobody; it sends `{id, port}` to the far one by way of this process.
 */
export async function startTunnel(near: string, far: string, originPort: number): Promise<Omit<Path, 'version'>> {
  const listener = await startHop(near);
  const agent = await startHop(far, originPort);
  listener.child.on('message', (dial) => agent.child.send(dial as object));
  return {
    ports: [listener.port],
    parts: { listener: [listener.pid], agent: [agent.pid] },
    stop: async () => {
      listener.child.disconnect();
      agent.child.disconnect();
    },
  };
}
