import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClientOptions, WebSocket } from 'ws';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { startWebTarget, type Target } from '../harness/targets.ts';
import { curl, type Output, until } from './support.ts';

let stack: Stack;
let web: Target;
let agent: RunningAgent;
let host: string;
/** That of another device, whose page is public. */
let other: string;
let bystander: RunningAgent;

beforeAll(async () => {
  stack = await startStack({ tls: true });
  web = await startWebTarget();
  agent = await stack.runAgent({ name: 'cam', token: await stack.addDevice('cam'), mappings: [`80=127.0.0.1:${web.port}`] });
  host = new URL(agent.endpoint(80).url as string).hostname;
  bystander = await stack.runAgent({
    name: 'door',
    token: await stack.addDevice('door'),
    mappings: [`80=127.0.0.1:${web.port}`],
  });
  other = new URL(bystander.endpoint(80).url as string).hostname;
});
afterAll(async () => {
  await agent?.stop();
  await bystander?.stop();
  await stack?.stop();
  await web?.close();
});

const open = (path: string, ...args: string[]): Promise<Output> =>
  curl(stack.info.edge, host, path, '--cacert', stack.info.ca as string, '-w', '\n%{http_code}', ...args);

const status = async (path: string, ...args: string[]): Promise<number> =>
  Number((await open(path, '-o', '/dev/null', ...args)).stdout.trim());

/** Opens a link as a browser would; its cookie. */
async function enter(url: string): Promise<string> {
  const { pathname, search } = new URL(url);
  const { stdout } = await open(pathname + search, '-i');
  expect(stdout).toMatch(/HTTP\/2 303/);
  const cookie = /set-cookie: (__Host-culvert-grant=[^;]+); Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax; Secure/.exec(
    stdout,
  )?.[1];
  if (cookie === undefined) throw new Error(stdout);
  return cookie;
}

interface Watched {
  ended(): boolean;
  end(): void;
}

/** An open WebSocket that has echoed, at the page of cam or of another host. */
async function watchSocket(cookie: string, at = host): Promise<Watched> {
  const { port } = new URL(stack.info.edge);
  const lookup = (_name: string, _options: unknown, done: (error: null, addresses: object[]) => void): void =>
    done(null, [{ address: '127.0.0.1', family: 4 }]);
  const options = { ca: stack.ca as string, headers: cookie === '' ? {} : { cookie }, lookup } as ClientOptions;
  const socket = new WebSocket(`wss://${at}:${port}/ws`, options);
  let isOver = false;
  socket
    .on('error', () => {})
    .on('close', () => {
      isOver = true;
    });
  const echoed = new Promise<void>((resolve, reject) => {
    socket.once('message', () => resolve()).once('close', () => reject(new Error('no WebSocket came about')));
  });
  socket.once('open', () => socket.send('x'));
  await echoed;
  return { ended: () => isOver, end: () => socket.terminate() };
}

/** An event stream that has brought something. */
async function watchStream(cookie: string): Promise<Watched> {
  const { port } = new URL(stack.info.edge);
  const args = ['-sSN', '--resolve', `${host}:${port}:127.0.0.1`, '--cacert', stack.info.ca as string, '-H', `Cookie: ${cookie}`];
  const child = spawn('curl', [...args, '-H', 'Accept: text/event-stream', `https://${host}:${port}/sse`]);
  const [first] = await once(child.stdout, 'data');
  expect(String(first), String(first)).toContain('data: ');
  child.stdout.resume();
  return { ended: () => child.exitCode !== null, end: () => void child.kill() };
}

async function share(...args: string[]): Promise<{ url: string; id: string }> {
  const { code, stdout, stderr } = await stack.culvert('share', 'cam', '--json', ...args);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as { url: string; id: string };
}

describe('a device whose pages are private', () => {
  it('is closed at once by the command line, and open to who has a link until that is withdrawn', async () => {
    expect(await status('/')).toBe(200);
    expect((await stack.culvert('share', 'cam')).stderr).toContain('cam is public');
    expect((await stack.culvert('device', 'access', 'cam')).stdout).toBe('public (by default)\n');
    expect((await stack.culvert('device', 'access', 'cam', 'private')).stdout).toBe('private\n');
    await until('it is closed', async () => ((await status('/')) === 403 ? true : undefined));

    const { url, id } = await share('--for', '10m', '--label', 'for ann', '--to', '/x?y=z');
    expect(new URL(url).host).toBe(new URL(agent.endpoint(80).url as string).host);
    const cookie = await enter(url);
    expect(await status('/', '-H', `Cookie: ${cookie}`)).toBe(200);
    expect(await status('/')).toBe(403);
    expect((await stack.culvert('share', 'cam', '--list')).stdout).toContain('for ann');

    expect((await stack.culvert('share', 'cam', '--withdraw', id.slice(0, 12))).stdout).toBe('1 withdrawn\n');
    await until('it is withdrawn', async () => ((await status('/', '-H', `Cookie: ${cookie}`)) === 403 ? true : undefined));
    const { pathname, search } = new URL(url);
    expect(await status(pathname + search)).toBe(403);
  });

  it('cuts the WebSockets and event streams of those who lost the right to see them, and not those of others', async () => {
    const { url, id } = await share('--for', '10m');
    const cookie = await enter(url);
    const [socket, stream] = [await watchSocket(cookie), await watchStream(cookie)];
    const elsewhere = await watchSocket('', other);
    await stack.culvert('share', 'cam', '--withdraw', id.slice(0, 12));
    await until('both are cut', () => (socket.ended() && stream.ended() ? true : undefined));

    await stack.admin('PUT', '/v1/devices/cam/access', { access: 'public' });
    const before = await until('it is open', () => watchSocket('').catch(() => undefined));
    await stack.admin('PUT', '/v1/devices/cam/access?port=80', { access: 'private' });
    await until('it is cut', () => (before.ended() ? true : undefined));
    await stack.admin('PUT', '/v1/devices/cam/access', { access: 'private' });
    await stack.admin('PUT', '/v1/devices/cam/access?port=80', { access: 'default' });

    const short = (await stack.admin('POST', '/v1/devices/cam/grants', { for_ms: 4_000 })).body as { url: string };
    const brief = await watchSocket(await enter(short.url));
    await until('the grant has run out', () => (brief.ended() ? true : undefined), 25_000);
    expect(elsewhere.ended()).toBe(false);
    elsewhere.end();
  });

  it('opens for an operator from the dashboard, by a link that is good once', async () => {
    const answer = await curl(
      stack.info.admin,
      'localhost',
      '/v1/open?device=cam',
      ...['--cacert', stack.info.ca as string, '-i', '-H', `Authorization: Bearer ${stack.info.adminToken}`],
    );
    const url = /^location: (\S+)/im.exec(answer.stdout)?.[1] as string;
    const cookie = await enter(url);
    expect(await status('/', '-H', `Cookie: ${cookie}`)).toBe(200);
    const { pathname, search } = new URL(url);
    expect(await status(pathname + search)).toBe(403);
  });

  it('opens after the login of an operator, and closes with it, with the operator, and not for links that they gave away', async () => {
    const json = { 'content-type': 'application/json' };
    const api = (path: string, ...args: string[]): Promise<Output> =>
      curl(stack.info.admin, 'localhost', path, '--cacert', stack.info.ca as string, '-i', ...args);
    const withHeaders = (headers: Record<string, string>): string[] =>
      Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
    const { token } = (await stack.admin('POST', '/v1/operators', { name: 'olga', role: 'operator' })).body as { token: string };
    const login = async (): Promise<string> => {
      const answer = await api('/v1/login', ...withHeaders(json), '-d', JSON.stringify({ token }));
      const cookie = /^set-cookie: (__Host-culvert_login=[^;]+);.*HttpOnly.*SameSite=Strict.*Path=\/;.*Secure/im.exec(
        answer.stdout,
      )?.[1];
      if (cookie === undefined) throw new Error(answer.stdout);
      return cookie;
    };
    const openBy = async (cookie: string): Promise<string> => {
      const answer = await api('/v1/open?device=cam', ...withHeaders({ cookie }));
      return enter(/^location: (\S+)/im.exec(answer.stdout)?.[1] as string);
    };
    expect((await api('/v1/open?device=cam')).stdout).toMatch(/^HTTP\S+ 401/);
    const [first, second] = [await login(), await login()];
    const [page, other_] = [await openBy(first), await openBy(second)];
    const given = await api(
      '/v1/devices/cam/grants',
      ...withHeaders({ ...json, cookie: second, 'culvert-request': '1' }),
      '-d',
      '{}',
    );
    const link = await enter((JSON.parse(given.stdout.slice(given.stdout.indexOf('{'))) as { url: string }).url);
    const opens = async (cookie: string): Promise<boolean> => (await status('/', '-H', `Cookie: ${cookie}`)) === 200;
    for (const cookie of [page, other_, link]) expect(await opens(cookie)).toBe(true);

    const watched = await watchSocket(page);
    const out = await api('/v1/login', '-X', 'DELETE', ...withHeaders({ cookie: first, 'culvert-request': '1' }));
    expect(out.stdout).toMatch(/^HTTP\S+ 200/);
    await until('it is closed by the logout', async () => ((await opens(page)) || !watched.ended() ? undefined : true));
    expect(await opens(other_)).toBe(true);
    await stack.admin('DELETE', '/v1/operators/olga');
    await until('it is closed with the operator', async () => ((await opens(other_)) ? undefined : true));
    expect(await opens(link)).toBe(true);
  });

  it('stays private, and its grants good, over the loss of the store', async () => {
    const cookie = await enter((await share('--for', '1h')).url);
    const redis = new Redis(stack.info.redis.address);
    await redis.flushall();
    redis.disconnect();
    await until(
      'it is served again',
      async () => ((await status('/', '-H', `Cookie: ${cookie}`)) === 200 ? true : undefined),
      45_000,
    );
    expect(await status('/')).toBe(403);
  });

  it('says the same while the device is away, and forgets its grants when it is revoked', async () => {
    const { url } = await until('the store is restored', () => share('--for', '1h').catch(() => undefined), 45_000);
    const cookie = await enter(url);
    const text = async (): Promise<string> => (await open('/')).stdout.replace(/[0-9a-f]{32}/g, '');
    const before = await text();
    await agent.stop();
    await until('it is offline', async () => ((await status('/', '-H', `Cookie: ${cookie}`)) === 503 ? true : undefined));
    expect(await text()).toBe(before);
    await stack.culvert('device', 'revoke', 'cam');
    expect(((await stack.admin('GET', '/v1/devices/cam/grants')).body as { grants: unknown[] }).grants).toEqual([]);
  });

  it('is told in the audit log, without the token of any link', async () => {
    const { body } = await stack.admin('GET', '/v1/audit?limit=100');
    const text = JSON.stringify(body);
    for (const action of ['device.privacy', 'grant.add', 'grant.withdraw', 'grant.open']) expect(text).toContain(action);
    expect(text).not.toContain('cvg_');
  });
});
