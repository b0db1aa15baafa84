import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from '../../harness/servers.ts';
import { childPids, waitForPort } from '../processes.ts';
import type { Driver } from './driver.ts';

const run = promisify(execFile);
const WORKERS = availableParallelism();
const WORKERS_MS = 10_000;
const STREAM = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** Starts nginx on a free port with a worker a core, as the edge has; `modules` come first in the file. */
export async function startNginx(
  block: (port: number) => string,
  modules = '',
): Promise<{ port: number; pids: readonly number[]; version: string; stop(): Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), 'culvert-bench-nginx-'));
  const port = await freePort();
  await writeFile(
    join(dir, 'nginx.conf'),
    `${modules}
daemon off; pid ${dir}/pid; error_log ${dir}/error.log; worker_processes ${WORKERS};
events { worker_connections 4096; }
${block(port)}
`,
  );
  const master = spawn('nginx', ['-p', dir, '-c', join(dir, 'nginx.conf'), '-e', join(dir, 'error.log')], { stdio: 'ignore' });
  await waitForPort(port); // the master listens before its workers are there
  const until = Date.now() + WORKERS_MS;
  while (childPids(master.pid as number).length < WORKERS) {
    if (Date.now() > until) throw new Error(`nginx did not start ${WORKERS} workers`);
    await new Promise((done) => setTimeout(done, 20));
  }
  const { stderr } = await run('nginx', ['-v']);
  return {
    port,
    pids: childPids(master.pid as number),
    version: stderr.trim().replace('nginx version: ', ''),
    stop: async () => {
      master.kill();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** The line that loads the module, for `startNginx`. */
export const NGINX_STREAM = `load_module ${STREAM};`;

/** Why there is no `stream` proxy here. */
export const withoutStream = async (): Promise<string | undefined> =>
  existsSync(STREAM) ? undefined : 'libnginx-mod-stream is not installed';

/** A `stream` proxy to a port of this machine; `options` are lines of its server. */
export const streamTo =
  (target: number, listen = '', options = '') =>
  (port: number): string =>
    `stream { server { listen 127.0.0.1:${port} ${listen} backlog=4096; proxy_pass 127.0.0.1:${target}; tcp_nodelay on; ${options} } }`;

/** nginx `stream` proxy, one hop: what a plain port forward costs when the network needs no tunnel. */
export const nginxStream: Driver = {
  name: 'nginx stream, one hop',
  unavailable: withoutStream,
  start: async (originPort) => {
    const nginx = await startNginx(streamTo(originPort), NGINX_STREAM);
    return { ports: [nginx.port], parts: { nginx: nginx.pids }, version: nginx.version, stop: nginx.stop };
  },
};
