import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from './run-cli.ts';

const TOKEN = 'admin-token';
const ALICE = {
  name: 'alice',
  state: 'connected',
  epoch: 7,
  endpoints: [
    { port: 80, scheme: 'http', url: 'http://x7.culvert.localhost', host: 'x7.culvert.localhost', public_port: 20001 },
    { port: 22, scheme: 'tcp', host: 'culvert.localhost', public_port: 20002 },
  ],
  since: 1_760_000_000_000,
  due: null,
  remote: '192.0.2.7',
  created_at: 1_750_000_000_000,
  revoked: false,
};
const BOB = { ...ALICE, name: 'bob', state: 'reconnecting' };

describe('culvert device', () => {
  let api: Server;
  let dir: string;
  let url: string;

  beforeAll(async () => {
    api = createServer((request, response) => {
      const answer = (status: number, body: unknown): void => {
        response.writeHead(status, { 'content-type': status < 300 ? 'application/json' : 'application/problem+json' });
        response.end(JSON.stringify(body));
      };
      if (request.headers.authorization !== `Bearer ${TOKEN}`)
        return answer(401, { title: 'Unauthorized', code: 'unauthorized' });
      const target = new URL(request.url ?? '/', 'http://admin');
      const route = `${request.method} ${target.pathname}`;
      if (route === 'POST /v1/devices') return answer(201, { name: 'carol', token: 'secret', created_at: 1 });
      if (route === 'GET /v1/devices') {
        if (target.searchParams.get('cursor') === 'next') return answer(200, { devices: [BOB], cursor: null });
        return answer(200, { devices: [ALICE], cursor: 'next' });
      }
      if (route === 'GET /v1/devices/alice') return answer(200, ALICE);
      if (route === 'GET /v1/devices/bob') return answer(200, BOB);
      if (route === 'DELETE /v1/devices/alice') return answer(200, { name: 'alice', revoked: true, missing: ['ws-ingress-2'] });
      return answer(404, { type: 'about:blank', title: 'Not Found', status: 404, detail: 'no device dave', code: 'not_found' });
    });
    api.listen(0, '127.0.0.1');
    await once(api, 'listening');
    url = `http://127.0.0.1:${(api.address() as AddressInfo).port}`;
    dir = mkdtempSync(join(tmpdir(), 'culvert-cli-'));
    writeFileSync(join(dir, 'stack.json'), JSON.stringify({ admin: url, adminToken: TOKEN }));
  });

  afterAll(() => {
    api.close();
    rmSync(dir, { recursive: true });
  });

  const device = (...args: string[]) => runCli(['--state-dir', dir, 'device', ...args]);

  it('adds a device and prints its token', async () => {
    const json = await device('add', 'carol', '--json');
    expect(json).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(json.stdout)).toMatchObject({ name: 'carol', token: 'secret' });
    expect((await device('add', 'carol')).stdout).toContain('secret');
  });

  it('lists all pages, as JSON and as a table', async () => {
    const json = await device('list', '--json');
    expect((JSON.parse(json.stdout) as { name: string }[]).map(({ name }) => name)).toEqual(['alice', 'bob']);
    const text = (await device('list')).stdout;
    expect(text).toMatch(/NAME +STATE +SINCE +ADDRESSES/);
    expect(text).toMatch(/alice +connected +2025-10-09 08:53:20Z +http:\/\/x7\.culvert\.localhost culvert\.localhost:20002/);
    expect(text).toMatch(/bob +grace \(reconnecting\)/);
  });

  it('shows a device, and calls reconnecting grace with a detail', async () => {
    expect(JSON.parse((await device('show', 'alice', '--json')).stdout)).toEqual(ALICE);
    const bob = JSON.parse((await device('show', 'bob', '--json')).stdout);
    expect(bob).toMatchObject({ state: 'grace', state_detail: 'reconnecting' });
    expect((await device('show', 'alice')).stdout).toMatch(/tcp:22 +culvert\.localhost:20002 +20002/);
  });

  it('revokes a device and names who has not acknowledged yet', async () => {
    const done = await device('revoke', 'alice', '--json');
    expect(JSON.parse(done.stdout)).toEqual({ name: 'alice', revoked: true, missing: ['ws-ingress-2'] });
    expect(done).toMatchObject({ code: 0, stderr: expect.stringContaining('ws-ingress-2') });
  });

  it('repeats the words of a server that says no and exits with 1', async () => {
    const refused = await device('show', 'dave', '--json');
    expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('no device dave (not_found)') });
  });

  it('takes URL and token from the environment and hints at a wrong token', async () => {
    const env = { CULVERT_ADMIN_URL: url, CULVERT_ADMIN_TOKEN: TOKEN };
    expect((await runCli(['device', 'show', 'alice', '--json'], env)).code).toBe(0);
    const refused = await runCli(['device', 'list'], { ...env, CULVERT_ADMIN_TOKEN: 'old' });
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('admin token is wrong') });
  });

  it('exits with 4 when there is no server, and says what to do when there is no stack', async () => {
    const env = { CULVERT_ADMIN_URL: 'http://127.0.0.1:1', CULVERT_ADMIN_TOKEN: TOKEN };
    expect(await runCli(['device', 'list'], env)).toMatchObject({ code: 4, stderr: expect.stringContaining('127.0.0.1:1') });
    const absent = await runCli(['--state-dir', join(dir, 'absent'), 'device', 'list']);
    expect(absent).toMatchObject({ code: 4, stderr: expect.stringContaining('npm start') });
  });

  it('exits with 2 for wrong usage', async () => {
    expect((await device('add', 'Not-A-Label')).code).toBe(2);
    expect((await device('add')).code).toBe(2);
    expect((await device('ad', 'x')).code).toBe(2);
    expect((await runCli(['device', 'list'], { CULVERT_ADMIN_URL: url })).stderr).toContain('CULVERT_ADMIN_TOKEN is missing');
  });
});
