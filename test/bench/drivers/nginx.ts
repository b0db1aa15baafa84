import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from '../../harness/servers.ts';
import { childPids, waitForPort } from '../processes.ts';
import type { Driver } from './driver.ts';

const run = promisify(execFile);
const STREAM = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** Starts nginx with one worker on a free port; `modules` come first in the file. */
export async function startNginx(
  block: (port: number) => string,
  modules = '',
): Promise<{ port: number; pids: readonly number[]; version: string; stop(): Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), 'culvert-bench-nginx-'));
  const port = await freePort();
  await writeFile(
    join(dir, 'nginx.conf'),
    `${modules}
daemon off; pid ${dir}/pid; error_log ${dir}/error.log; worker_processes 1;
events { worker_connections 4096; }
${block(port)}
`,
  );
  const master = spawn('nginx', ['-p', dir, '-c', join(dir, 'nginx.conf'), '-e', join(dir, 'error.log')], { stdio: 'ignore' });
  await waitForPort(port);
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

/** nginx `stream` proxy, one hop: what a plain port forward costs when the network needs no tunnel. */
export const nginxStream: Driver = {
  name: 'nginx stream, one hop',
  unavailable: async () => (existsSync(STREAM) ? undefined : 'libnginx-mod-stream is not installed'),
  start: async (originPort) => {
    const nginx = await startNginx(
      (port) =>
        `stream { server { listen 127.0.0.1:${port} backlog=4096; proxy_pass 127.0.0.1:${originPort}; tcp_nodelay on; } }`,
      `load_module ${STREAM};`,
    );
    return { ports: [nginx.port], parts: { nginx: nginx.pids }, version: nginx.version, stop: nginx.stop };
  },
};
