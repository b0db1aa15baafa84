import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { compileHop, withoutGcc } from './c-relay.ts';
import type { Driver } from './driver.ts';
import { NGINX_STREAM, startNginx, streamTo, withoutStream } from './nginx.ts';

const run = promisify(execFile);

/** As large as where the edge carries transfers. */
const BUFFER = 'proxy_buffer_size 64k;';

/** Two nginx with TLS between them, and what is plain before and behind: a listener and an agent in C, OpenSSL on both ends. */
async function startTlsPair(originPort: number): Promise<{
  port: number;
  near: readonly number[];
  far: readonly number[];
  version: string;
  stop(): Promise<void>;
}> {
  const dir = await mkdtemp(join(tmpdir(), 'culvert-bench-tls-'));
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-subj', '/CN=localhost', '-days', '2'];
  await run('openssl', ['req', '-x509', ...kind, '-keyout', key, '-out', cert]);
  const identity = `ssl_certificate ${cert}; ssl_certificate_key ${key}; ssl_protocols TLSv1.3;`;
  const far = await startNginx(streamTo(originPort, 'ssl', `${identity} ${BUFFER}`), NGINX_STREAM);
  const client = 'proxy_ssl on; proxy_ssl_protocols TLSv1.3;';
  const near = await startNginx(streamTo(far.port, '', `${client} ${BUFFER}`), NGINX_STREAM);
  return {
    port: near.port,
    near: near.pids,
    far: far.pids,
    version: near.version,
    stop: async () => {
      await near.stop();
      await far.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Two hops with TLS between them, all in C: the yardstick of direct transfers over TLS. */
export const nginxTls: Driver = {
  name: 'nginx stream, two hops, TLS',
  unavailable: withoutStream,
  start: async (originPort) => {
    const { port, near, far, version, stop } = await startTlsPair(originPort);
    return { ports: [port], parts: { listener: near, agent: far }, version, stop };
  },
};

/** The same behind the C relay: the yardstick of transfers over TLS that come by the edge. */
export const cRelayTls: Driver = {
  name: 'C read/write, then nginx, TLS',
  unavailable: async () => (await withoutStream()) ?? (await withoutGcc()),
  start: async (originPort) => {
    const pair = await startTlsPair(originPort);
    const { hop, version, remove } = await compileHop();
    const listener = await hop(pair.port);
    return {
      ports: [listener.port],
      parts: { listener: [listener.pid], edge: pair.near, agent: pair.far },
      version: `${pair.version}, ${version}`,
      stop: async () => {
        listener.stop();
        await remove();
        await pair.stop();
      },
    };
  },
};
