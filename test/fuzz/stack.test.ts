import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { say } from '../e2e/strangers.ts';
import { type Stack, startStack } from '../harness/system.ts';
import { apply, changes } from './mutate.ts';

const RUNS = 250;
let stack: Stack;

beforeAll(async () => {
  stack = await startStack({
    env: { CULVERT_LIMIT_HANDSHAKE_MS: '2000', CULVERT_LIMIT_ACQUIRE_MS: '1800', CULVERT_LIMIT_PROBE_MS: '500' },
  });
  await stack.addDevice('alice');
});
afterAll(() => stack?.stop());

const pids = (): string => JSON.stringify([stack.info.nginx.pid, ...stack.info.services.map(({ pid }) => pid)]);

describe('the edge', () => {
  const seeds = [
    'GET / HTTP/1.1\r\nHost: quiet-otter.culvert.localhost\r\nConnection: close\r\n\r\n',
    'GET /a/../b?x=%20 HTTP/1.1\r\nHost: culvert.localhost:8080\r\nCookie: culvert=abc; other="x"\r\nConnection: close\r\n\r\n',
    'GET /.culvert/grant?t=abc HTTP/1.1\r\nHost: quiet-otter.culvert.localhost\r\nConnection: close\r\n\r\n',
    'GET /v1/control?name=alice&ports=80 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
    'POST /v1/access HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}',
    'GET http://quiet-otter.culvert.localhost/ HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n',
  ].map((text) => Buffer.from(text));
  const words = [
    'Host: a\r\n',
    'Host: ',
    'Content-Length: 7\r\n',
    'Transfer-Encoding: chunked\r\n',
    '\r\n',
    '\n',
    '\0',
    '..',
    '%2e%2e%2f',
    '//',
    '.',
    '-',
    'xn--',
    ':',
    '[::1]',
    'Cookie: ',
    ';',
    '=',
  ];

  it('answers whatever comes, or closes; no fault in its Lua, no worker lost', async () => {
    const { hostname: host, port } = new URL(stack.info.edge);
    const before = pids();
    const requests = fc
      .sample(fc.tuple(fc.constantFrom(...seeds), changes), RUNS)
      .map(([seed, list]) => apply(seed, list, words));
    for (let at = 0; at < requests.length; at += 25) {
      const answers = requests.slice(at, at + 25).map(async (request) => {
        const { heard, closed } = await say({ name: 'edge', host, port: Number(port) }, request, 20_000, /\r\n\r\n/);
        expect(closed || heard !== '', JSON.stringify(request.toString('latin1'))).toBe(true);
        if (heard.startsWith('HTTP/1.1')) expect(heard).toMatch(/^HTTP\/1\.1 (?:[234][0-9]{2}|50[1345]) /);
      });
      await Promise.all(answers);
    }
    expect(pids()).toBe(before);
    const log = readFileSync(join(stack.stateDir, 'edge/logs/error.log'), 'utf8');
    expect(log).not.toMatch(/lua entry thread aborted|failed to run|exited on signal|attempt to /);
  });
});

describe('the API', () => {
  interface Route {
    method: string;
    path: string;
  }
  const routes = async (): Promise<Route[]> => {
    const answer = await fetch(`${stack.info.admin}/openapi.json`);
    const { paths } = (await answer.json()) as { paths: Record<string, Record<string, unknown>> };
    return Object.entries(paths).flatMap(([path, verbs]) =>
      Object.keys(verbs).map((method) => ({ method: method.toUpperCase(), path })),
    );
  };
  const id = fc.oneof(
    fc.constantFrom('alice', 'x', '..', '%00', 'A', 'a'.repeat(300), '__proto__'),
    fc.string({ maxLength: 20 }),
  );
  const key = fc.constantFrom(
    'name',
    'role',
    'device',
    'port',
    'labels',
    'notes',
    'token',
    'url',
    'types',
    'ports',
    'allow',
    'uses',
    'access',
    'forward',
    '__proto__',
  );
  const value = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom('alice', 'admin', 22, -1, 1e300, '', [], {}, null));
  const body = fc.oneof(
    fc.dictionary(key, value, { maxKeys: 5 }).map((object) => JSON.stringify(object)),
    fc.jsonValue().map((json) => JSON.stringify(json)),
    fc.string({ maxLength: 60 }),
    fc.constantFrom('{"__proto__":{"role":"admin"}}', '{', '['.repeat(5_000), '"\\ud800"', `{"name":"${'a'.repeat(20_000)}"}`),
  );

  it('says no in order to whatever an operator sends, and has no fault of its own', async () => {
    const { admin, adminToken } = stack.info;
    const all = (await routes()).filter(({ method, path }) => method !== 'GET' || !path.endsWith('/events'));
    expect(all.length).toBeGreaterThan(10);
    const before = pids();
    for (const [at, given] of fc
      .sample(fc.tuple(id, body, fc.constantFrom('application/json', 'text/plain', 'application/json; charset=x')), RUNS)
      .entries()) {
      const { method, path } = all[at % all.length] as Route;
      const [name, text, type] = given;
      // Whoever waits for a device that never comes waits for a minute, by default.
      const query = path.endsWith('/wait') ? '?timeout=1s' : '';
      const target = path.replaceAll(/\{[^}]+\}/g, encodeURIComponent(name.isWellFormed() ? name : 'x')) + query;
      const answer = await fetch(`${admin}${target}`, {
        method,
        redirect: 'manual',
        headers: { authorization: `Bearer ${adminToken}`, ...(method === 'GET' ? {} : { 'content-type': type }) },
        signal: AbortSignal.timeout(20_000),
        ...(method === 'GET' ? {} : { body: text }),
      });
      await answer.body?.cancel();
      expect(answer.status, `${method} ${target} ${text}`).not.toBe(500);
    }
    expect(pids()).toBe(before);
  });
});
