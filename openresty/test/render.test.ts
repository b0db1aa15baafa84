import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type EdgeSettings, prepareEdge, renderEdgeConfig } from '../src/index.ts';
import { ask, DOMAIN, freePort, Origin, SECRET, TestEdge, TestRedis, until } from './support.ts';

const settings: EdgeSettings = {
  prefix: '/nowhere/edge',
  port: 8080,
  healthPort: 8081,
  domain: DOMAIN,
  redisUrl: 'redis://:a-password@127.0.0.1:1',
  edgeSecret: SECRET,
};
const machine = { root: true, workerUser: () => 'www-data www-data', ipv6: true, openFiles: 1000, nameservers: ['192.0.2.1'] };

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

describe('the configuration', () => {
  it('holds no secret', () => {
    const all = Object.values(renderEdgeConfig(settings, machine)).join('\n');
    expect(all).not.toContain(SECRET);
    expect(all).not.toContain('a-password');
    expect(all).not.toMatch(/\{\{/);
  });

  it('is refused where a cached route could outlive the rest of its port', () => {
    const limits = { ROUTE_STALE_MS: 59_000, EDGE_KEEPALIVE_MS: 1000, COOL_DOWN_MS: 60_000 };
    expect(() => renderEdgeConfig({ ...settings, limits }, machine)).toThrow(
      /ROUTE_STALE_MS \(59000\) .*EDGE_KEEPALIVE_MS \(1000\) = 60000: expected less than CULVERT_LIMIT_COOL_DOWN_MS \(60000\)/,
    );
  });

  it('names all faults of the settings at once', () => {
    const faulty = {
      ...settings,
      prefix: 'edge',
      port: 0,
      domain: "x' y",
      redisUrl: 'http://x',
      edgeSecret: 'short',
      user: 'a b',
    };
    expect(() => renderEdgeConfig(faulty, machine)).toThrow(
      /prefix "edge"[\s\S]*port 0[\s\S]*domain "x' y"[\s\S]*redisUrl[\s\S]*edgeSecret[\s\S]*user "a b"/,
    );
  });

  it('fits the machine and the target', () => {
    const debian = renderEdgeConfig(settings, machine)['nginx.conf'];
    expect(debian).toMatch(
      /^load_module [\s\S]*user www-data www-data;[\s\S]*worker_connections 1000;[\s\S]*listen \[::\]:8080 ipv6only=on;/m,
    );
    const other = renderEdgeConfig({ ...settings, target: 'openresty' }, { ...machine, root: false, ipv6: false })['nginx.conf'];
    expect(other).not.toMatch(/load_module|^user |\[::\]/m);
  });

  it('resolves the name of a Redis by the nameservers of the machine', () => {
    const named = { ...settings, redisUrl: 'redis://redis:6379' };
    expect(renderEdgeConfig(named, machine)['nginx.conf']).toContain('resolver 192.0.2.1 ');
    expect(() => renderEdgeConfig(named, { ...machine, nameservers: [] })).toThrow(/redis.*nameserver/);
  });
});

it.runIf(process.getuid?.() === 0)('it runs as a user without rights, writing to its prefix only', async () => {
  const redis = await TestRedis.start();
  stops.push(() => redis.stop());
  const prefix = mkdtempSync(join(tmpdir(), 'culvert-edge-'));
  const [port, healthPort] = [await freePort(), await freePort()];
  const redisUrl = `redis://127.0.0.1:${redis.port}`;
  const [uid, gid] = [Number(execFileSync('id', ['-u', 'nobody'])), Number(execFileSync('id', ['-g', 'nobody']))];
  const as = { ...machine, root: false };
  const { command, args, env } = prepareEdge({ ...settings, prefix, port, healthPort, redisUrl, workers: 1 }, as);
  for (const path of ['.', 'logs', 'temp']) chownSync(join(prefix, path), uid, gid);
  chmodSync(prefix, 0o700);
  const child = spawn(command, args, { uid, gid, env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    said += chunk;
  });
  stops.push(async () => {
    child.kill('SIGTERM');
    if (child.exitCode === null) await once(child, 'exit');
    rmSync(prefix, { recursive: true, force: true });
  });
  await until('it answers', async () => (await ask({ port: healthPort, path: '/healthz' })).status === 200);
  expect((await ask({ port, host: DOMAIN })).status).toBe(200);
  expect(said).toBe('');
});

it('an https endpoint is reached over TLS under its own name, whatever its certificate', async () => {
  const redis = await TestRedis.start();
  stops.push(() => redis.stop());
  const edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, {}, 1);
  stops.push(() => edge.stop());
  const folder = mkdtempSync(join(tmpdir(), 'culvert-edge-tls-'));
  const pem = join(folder, 'pem');
  const request = [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '1',
    '-subj',
    '/CN=x',
    '-keyout',
    pem,
    '-out',
    `${pem}.crt`,
  ];
  execFileSync('openssl', request, { stdio: 'ignore' });
  const [key, cert] = [execFileSync('cat', [pem]), execFileSync('cat', [`${pem}.crt`])];
  rmSync(folder, { recursive: true });
  let handshakes = 0;
  const server = createServer({ key, cert }, (req, res) => {
    res.end((req.socket as import('node:tls').TLSSocket & { servername: string }).servername);
  }).listen(0, '127.0.0.1');
  server.on('secureConnection', () => {
    handshakes += 1;
  });
  await once(server, 'listening');
  stops.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  await redis.route('tls', { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, scheme: 'https' });
  for (let i = 0; i < 3; i += 1) expect((await edge.ask({ host: `tls.${DOMAIN}:99` })).body).toBe(`tls.${DOMAIN}`);
  expect(handshakes).toBe(1);
});

it('a visitor in flight is served to the end when the edge winds down', async () => {
  const redis = await TestRedis.start();
  stops.push(() => redis.stop());
  const edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, {}, 1);
  let finish: (() => void) | undefined;
  const origin = await Origin.start((_req, res) => {
    finish = () => res.end('done');
    res.write('begun, ');
  });
  stops.push(() => origin.stop());
  await redis.route('slow', { address: origin.address });
  const answer = edge.ask({ host: `slow.${DOMAIN}` });
  await until('it has begun', () => finish !== undefined);
  const stopped = edge.stop('SIGQUIT');
  await until('it takes nobody new', () =>
    edge.ask({ host: DOMAIN }).then(
      () => false,
      () => true,
    ),
  );
  finish?.();
  expect((await answer).body).toBe('begun, done');
  await stopped;
});
