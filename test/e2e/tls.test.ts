import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { pinOf } from '@culvert/relay';
import { chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildDashboard } from '../../dashboard/build.ts';
import { RunningAccess } from '../harness/access.ts';
import { freePort } from '../harness/servers.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, type Target } from '../harness/targets.ts';
import { HOLDS, type Hold, holdPlace, openPorts } from './strangers.ts';
import { client, curl, tcpVisitor } from './support.ts';

const HOLD_LATE_MS = 30_000;
let stack: Stack;
let tcp: Target;
let agent: RunningAgent;
let token: string;
let plain: string;
let demo: URL;
/** The address that is published, in front of the listener's port; what goes on from here was dialled directly. */
let published: net.Server;
let direct = 0;
/** Takes the listener's place where set. */
let impostor: tls.Server | undefined;
const sockets = new Set<net.Socket>();
const accesses: RunningAccess[] = [];

const trusted = (): string[] => ['--cacert', stack.info.ca as string];

beforeAll(async () => {
  await buildDashboard();
  const [listenerPort, publishedPort] = [await freePort(), await freePort()];
  stack = await startStack({
    tls: true,
    env: {
      CULVERT_DEMO: '1',
      CULVERT_LIMIT_HANDSHAKE_MS: '4000',
      CULVERT_LIMIT_ACQUIRE_MS: '3500',
      CULVERT_LIMIT_PROBE_MS: '1000',
      CULVERT_TRANSFER_PORT: String(listenerPort),
      CULVERT_TRANSFER_URL: `wss://localhost:${publishedPort}`,
    },
  });
  demo = new URL(stack.info.demo as string);
  plain = `http://127.0.0.1:${stack.env.CULVERT_PORT}`;
  published = net.createServer((socket) => {
    if (impostor !== undefined) {
      impostor.emit('connection', socket);
      return;
    }
    const onward = net.connect(listenerPort, '127.0.0.1');
    direct += 1;
    sockets.add(socket).add(onward);
    socket.pipe(onward).pipe(socket);
    for (const one of [socket, onward]) {
      one.on('error', () => {}).on('close', () => [socket, onward].map((each) => each.destroy()));
    }
  });
  await new Promise<void>((done) => published.listen(publishedPort, done));
  tcp = await startTcpTarget(echo);
  token = await stack.addDevice('safe');
  agent = await stack.runAgent({ name: 'safe', token, mappings: [`tcp:7=127.0.0.1:${tcp.port}`] });
});
afterAll(async () => {
  for (const access of accesses) await access.stop();
  await agent?.stop();
  await stack?.stop();
  await tcp?.close();
  for (const socket of sockets) socket.destroy();
  published?.close();
});

describe('a visitor of a stack with TLS', () => {
  it('gets the page over HTTP/2 with a verified certificate', async () => {
    const { code, stdout } = await curl(stack.info.edge, demo.hostname, '/', ...trusted(), '-w', '%{http_version} %{http_code}');
    expect(code).toBe(0);
    expect(stdout).toMatch(/<html[\s\S]*2 200$/);
  });

  it('is sent on from the plain port, and gets there', async () => {
    const tlsPort = new URL(stack.info.edge).port;
    const follow = ['-L', '--resolve', `${demo.hostname}:${tlsPort}:127.0.0.1`, '-w', '%{url_effective}'];
    const { stdout } = await curl(plain, demo.hostname, '/?a=b', ...trusted(), ...follow);
    expect(stdout).toContain(`https://${demo.host}/?a=b`);
  });

  it('who does not know the authority is told so by its client', async () => {
    expect((await curl(stack.info.edge, demo.hostname, '/')).code).toBe(60);
  });

  it('sees the page in a browser as a secure one, and a private one by the login of the dashboard', async () => {
    const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
    if (executablePath === undefined) throw new Error('no Chromium found; install the package chromium');
    // Trusts the authority's own key, as an import of its certificate would, and nothing else.
    const ca = pinOf(new X509Certificate(stack.ca as string)).replace('sha256/', '');
    const leaf = pinOf(new X509Certificate(readFileSync(join(stack.stateDir, 'tls/edge.pem')))).replace('sha256/', '');
    const browser = await chromium.launch({
      executablePath,
      args: [
        ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking'],
        '--host-resolver-rules=MAP *.culvert.localhost 127.0.0.1',
        `--ignore-certificate-errors-spki-list=${ca},${leaf}`,
      ],
    });
    try {
      const page = await browser.newPage();
      const answer = await page.goto(demo.href);
      expect(answer?.status()).toBe(200);
      expect(await answer?.securityDetails()).toMatchObject({ protocol: 'TLS 1.3' });
      expect(await page.evaluate('isSecureContext')).toBe(true);

      expect((await stack.admin('PUT', '/v1/devices/demo/access', { access: 'private' })).status).toBe(200);
      expect((await page.goto(demo.href))?.status()).toBe(403);
      await page.goto(new URL('/devices/demo', stack.info.admin).href);
      await page.getByLabel('Operator token').fill(stack.info.adminToken);
      await page.getByRole('button', { name: 'Log in' }).click();
      const link = page.getByRole('link', { name: /^https?:/ }).first();
      const [opened] = await Promise.all([page.waitForEvent('popup'), link.click()]);
      await opened.waitForURL(demo.href);
      expect(await opened.title()).not.toBe('');
      const cookies = await page.context().cookies();
      const ours = cookies.filter(({ name }) => name.includes('culvert'));
      expect(ours.map(({ name }) => name).sort()).toEqual(['__Host-culvert-grant', '__Host-culvert_login']);
      for (const cookie of ours) expect(cookie).toMatchObject({ secure: true, httpOnly: true, path: '/' });
      expect((await opened.reload())?.status()).toBe(200);
      expect((await stack.admin('PUT', '/v1/devices/demo/access', { access: 'public' })).status).toBe(200);
    } finally {
      await browser.close();
    }
  });
});

it('strangers who only hold places lose them at every port that speaks TLS, and at the plain one', async () => {
  const ports = (await openPorts(stack)).filter(({ name }) => ['edge', 'admin', 'edge, plain port'].includes(name));
  ports.push({ name: 'transfers', host: '127.0.0.1', port: Number(stack.env.CULVERT_TRANSFER_PORT) });
  expect(ports.length).toBe(4);
  const within = ports.filter(({ name }) => name !== 'edge, plain port');
  const holds = Object.keys(HOLDS) as Hold[];
  await Promise.all(
    holds.flatMap((hold) => [
      ...ports.map((port) => holdPlace(port, hold, HOLD_LATE_MS)),
      ...(hold === 'whose TLS handshake never ends' ? [] : within.map((port) => holdPlace(port, hold, HOLD_LATE_MS, true))),
    ]),
  );
});

describe('a device of a stack with TLS', () => {
  it('serves visitors of its public port by transfers straight to the listener, with TLS', async () => {
    const payload = randomBytes(8 << 20);
    const got = await tcpVisitor(agent.endpoint(7).public_port as number, payload, { deadlineMs: 30_000 });
    const digest = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
    expect(digest(got.data)).toBe(digest(payload));
    expect(direct).toBeGreaterThan(0);
  });

  it('takes the way by the edge when the certificate there is not to be trusted', async () => {
    const files = join(stack.stateDir, 'tls');
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-subj', '/CN=localhost'];
    await client('openssl', [...args, '-keyout', join(files, 'wrong.key'), '-out', join(files, 'wrong.pem')]);
    const wrong = { cert: readFileSync(join(files, 'wrong.pem')), key: readFileSync(join(files, 'wrong.key')) };
    let met = 0;
    impostor = tls.createServer(wrong).on('tlsClientError', () => (met += 1));
    const before = direct;
    const mappings = [`tcp:7=127.0.0.1:${tcp.port}`];
    const wary = await stack.runAgent({ name: 'wary', token: await stack.addDevice('wary'), mappings });
    for (const text of ['one', 'two']) {
      expect((await tcpVisitor(wary.endpoint(7).public_port as number, text)).data.toString()).toBe(text);
    }
    await wary.stop();
    impostor = undefined;
    expect(met).toBeGreaterThan(0);
    expect(direct).toBe(before);
  });

  it('connects with the pinned key of the edge, and not with another', async () => {
    const pin = pinOf(new X509Certificate(readFileSync(join(stack.stateDir, 'tls/edge.pem'))));
    const wrong = pinOf(new X509Certificate(stack.ca as string));
    const mappings = [`tcp:7=127.0.0.1:${tcp.port}`];
    const pinned = await stack.addDevice('pinned');
    const refused = stack.spawnAgent({ name: 'pinned', token: pinned, mappings, args: ['--pin', wrong] });
    expect((await refused.event('disconnected')).message).toContain('not the pinned key');
    await refused.stop();
    const taken = await stack.runAgent({ name: 'pinned', token: pinned, mappings, args: ['--pin', pin] });
    await taken.stop();
  });

  it('is refused without TLS, and told where to go', async () => {
    const other = stack.spawnAgent({ name: 'open', token: await stack.addDevice('open'), mappings: ['80'], server: plain });
    const refused = await other.event('refused');
    expect(refused).toMatchObject({ code: 'forbidden', status: 403 });
    expect(refused.message).toContain(`use https://culvert.localhost:${stack.env.CULVERT_TLS_PORT}`);
    await other.stop();
  });
});

it('the edge, the listener and the API say when the certificate that they serve ends', async () => {
  const ends = new X509Certificate(readFileSync(join(stack.stateDir, 'tls/edge.pem'))).validToDate.getTime() / 1000;
  const { services, nginx } = stack.info;
  const told = async (health: string | undefined): Promise<string[]> => {
    const text = await (await fetch(String(health).replace('/healthz', '/metrics'))).text();
    const lines = text.split('\n').filter((line) => line.startsWith('culvert_certificate_expires_timestamp_seconds{'));
    return lines.map((line) => line.replace(/,?instance="[^"]*"/, ''));
  };
  const of = (id: string): string | undefined => services.find((service) => service.id.startsWith(id))?.health;
  const series = (use: string): string => `culvert_certificate_expires_timestamp_seconds{use="${use}",source="files"} ${ends}`;
  expect(await told(nginx.health)).toEqual([series('edge')]);
  expect(await told(of('tcp-listener'))).toEqual([series('transfers')]);
  expect(await told(of('admin'))).toEqual([series('api')]);
  expect(await told(of('ws-ingress'))).toEqual([]);
});

it('an operator gets a ticket through the edge, which verifies the API behind it, and none without TLS', async () => {
  const ask = (edge: string, ...args: string[]) =>
    curl(
      edge,
      'localhost',
      '/v1/access',
      ...args,
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      ...[
        ...['-H', `Authorization: Bearer ${stack.info.adminToken}`, '-H', 'Content-Type: application/json'],
        ...['-d', JSON.stringify({ device: 'safe', port: 7 })],
      ],
    );
  expect((await ask(stack.info.edge, ...trusted())).stdout).toMatch(/^20[01]$/);
  expect((await ask(plain)).stdout).toBe('403');
});

describe('an operator of a stack with TLS', () => {
  const started = (...args: string[]): RunningAccess => {
    const one = new RunningAccess(args);
    accesses.push(one);
    return one;
  };

  it('forwards a port of a device, by name and by SOCKS, with verified certificates', async () => {
    const [port] = await started('--state-dir', stack.stateDir, 'forward', 'safe', '0:7').ports();
    const payload = randomBytes(1 << 20);
    const got = await tcpVisitor(port as number, payload, { deadlineMs: 30_000 });
    expect(got.data.equals(payload)).toBe(true);
    const [socks] = await started('--state-dir', stack.stateDir, 'socks', '--listen', '127.0.0.1:0').ports();
    const page = await client('curl', [
      '-sS',
      '--max-time',
      '20',
      '--socks5-hostname',
      `127.0.0.1:${socks}`,
      'http://demo.culvert/',
    ]);
    expect(page.stdout).toMatch(/<html/);
  });

  it('who does not know the authority, or has pinned another key, connects to nobody', async () => {
    const wrong = pinOf(new X509Certificate(stack.ca as string));
    const at = ['--server', stack.info.edge];
    const cases: [Record<string, string>, string[], RegExp][] = [
      [{}, at, /certificate|issuer|self.signed/i],
      [{ CULVERT_CA_FILE: stack.info.ca as string }, [...at, '--pin', wrong], /pinned is/],
      [{ NODE_TLS_REJECT_UNAUTHORIZED: '0' }, at, /certificate|issuer|self.signed/i],
    ];
    const commands = [
      ['forward', 'safe', '0:7'],
      ['socks', '--listen', '127.0.0.1:0'],
    ];
    const refused = cases.flatMap(([env, args, said]) =>
      commands.map(async (command) => {
        const one = new RunningAccess([...command, ...args], { CULVERT_ADMIN_TOKEN: stack.info.adminToken, ...env });
        expect([command[0], await one.exited]).toEqual([command[0], 4]);
        expect(one.lines).toEqual([]);
        expect(one.stderr).toMatch(said);
      }),
    );
    await Promise.all(refused);
  });
});

it('the command line asks the admin API by TLS, with the authority of the stack', async () => {
  expect(stack.info.admin).toMatch(/^https:/);
  const list = await stack.culvert('device', 'list');
  expect(list.stdout).toContain(`https://${demo.host}`);
  const { code, stderr } = await stack.culvert('device', 'show', 'nobody');
  expect(code).toBe(1);
  expect(stderr).toContain('nobody');
});
