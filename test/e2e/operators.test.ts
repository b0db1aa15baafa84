import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { startWebTarget, type Target } from '../harness/targets.ts';
import { curl, until } from './support.ts';

let stack: Stack;
let web: Target;
let agent: RunningAgent;

beforeAll(async () => {
  stack = await startStack();
  web = await startWebTarget();
  agent = await stack.runAgent({
    ...{ name: 'porch', token: await stack.addDevice('porch') },
    mappings: [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${web.port}`],
  });
  await stack.addDevice('attic');
});
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  await web?.close();
});

// biome-ignore lint/suspicious/noExplicitAny: what it is, is what the tests look at
const get = async (path: string): Promise<any> => {
  const { status, body } = await stack.admin('GET', path);
  expect([path, status]).toEqual([path, 200]);
  return body;
};

describe('an operator', () => {
  it('sees every process with its load, and how many ports are leased', async () => {
    const { instances } = await until('all processes', async () => {
      const found = await get('/v1/instances');
      return found.instances.length >= 5 ? found : undefined;
    });
    const byService = Object.fromEntries(instances.map((one: { service: string }) => [one.service, one]));
    for (const name of ['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator', 'admin']) {
      expect(byService[name]).toMatchObject({ state: 'live' });
    }
    expect(byService['ws-ingress']).toMatchObject({ devices: 1 });
    expect(byService['tcp-listener']).toMatchObject({ devices: 1, ports: { leased: 2 } });
    const loaded = await until('a load of the listener', async () => {
      const { instances: again } = await get('/v1/instances');
      return again.find((one: { service: string; load: unknown }) => one.service === 'tcp-listener' && one.load !== null);
    });
    expect(loaded.load.memory).toBeGreaterThan(1_000_000);
  });

  it('sees how many ports are held, free and cooling down, and whose each is', async () => {
    const { listeners } = await get('/v1/listeners');
    const [{ first, last, held, free, cooling }] = listeners;
    expect([held, held + free + cooling]).toEqual([2, last - first + 1]);
    const { ports, total } = await get('/v1/ports');
    expect(total).toBe(2);
    expect(ports.map((one: { device: string; scheme: string }) => `${one.device} ${one.scheme}`).sort()).toEqual([
      'porch http',
      'porch tcp',
    ]);
    const [one] = ports;
    expect(await get(`/v1/ports?port=${one.public_port}`)).toMatchObject({ total: 1, ports: [one] });
    const page = await get('/v1/ports?limit=1');
    expect((await get(`/v1/ports?limit=1&cursor=${page.cursor}`)).ports).toEqual([ports[1]]);
    expect((await get('/v1/ports?listener=no-such-one')).ports).toEqual([]);
    expect((await stack.admin('GET', '/v1/ports?port=0')).body).toMatchObject({ status: 400, code: 'bad_request' });
    const [listener] = (await get('/v1/instances')).instances.filter((its: { ports: unknown }) => its.ports !== null);
    expect(listener.ports).toEqual({ first, last, leased: 2, free, cooling });
  });

  it('sorts and searches devices, counts them, and reads their history', async () => {
    const { devices, total } = await get('/v1/devices?sort=state');
    expect([total, ...devices.map((one: { name: string }) => one.name)]).toEqual([2, 'porch', 'attic']);
    expect((await get('/v1/devices?q=atti')).devices).toHaveLength(1);
    expect(await get('/v1/fleet')).toMatchObject({ devices: 2, connected: 1, offline: 1 });
    const { events } = await get('/v1/devices/porch/events');
    expect(events.map((one: { type: string }) => one.type)).toEqual(['device.connected', 'lease.granted']);
  });

  it('has visitors shown while they are there', async () => {
    const { hostname } = new URL(String(agent.endpoint(80).url));
    expect((await curl(stack.info.edge, hostname, '/hello')).code).toBe(0);
    const seen = await until('the visitor', async () => {
      const { requests } = await get('/v1/devices/porch/visitors');
      return requests.length > 0 ? requests : undefined;
    });
    expect(seen[0]).toMatchObject({ path: '/hello', status: 200 });
  });
});

describe('the command line', () => {
  const json = async (...args: string[]) => {
    const { code, stdout, stderr } = await stack.culvert(...args, '--json');
    expect([args.join(' '), code, stderr]).toEqual([args.join(' '), 0, '']);
    return JSON.parse(stdout);
  };

  it('lists what fits, shows the history, and the processes', async () => {
    expect((await json('device', 'list', '--search', 'porch')).map((one: { name: string }) => one.name)).toEqual(['porch']);
    expect((await json('device', 'list', '--state', 'offline', '--sort', '-name'))[0].name).toBe('attic');
    expect((await json('device', 'history', 'porch')).at(-1).type).toBe('lease.granted');
    expect((await stack.culvert('device', 'history', 'porch')).stdout).toContain('device.connected');
    expect((await json('instance', 'list')).length).toBeGreaterThanOrEqual(5);
    expect((await stack.culvert('instance', 'list')).stdout).toMatch(/tcp-listener-1 +live .* 2 of \d+/);
    const wrong = await stack.culvert('device', 'list', '--sort', 'size');
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('sort')]);
  });

  it('sets the password of whoever asks, by which they log in', async () => {
    const { body } = await stack.admin('POST', '/v1/operators', { name: 'petra', role: 'viewer' });
    const env = { ...process.env, CULVERT_ADMIN_URL: stack.info.admin, CULVERT_ADMIN_TOKEN: (body as { token: string }).token };
    const cli = fileURLToPath(new URL('../../agent/cli/bin/culvert.mjs', import.meta.url));
    const set = spawnSync(process.execPath, [cli, 'operator', 'password'], {
      env,
      input: 'correct horse battery\n',
      encoding: 'utf8',
    });
    expect([set.status, set.stdout]).toEqual([0, expect.stringContaining('Your password is set')]);
    const headers = { 'content-type': 'application/json' };
    const login = JSON.stringify({ name: 'petra', password: 'correct horse battery' });
    const answer = await fetch(`${stack.info.admin}/v1/login`, { method: 'POST', headers, body: login });
    expect([answer.status, await answer.json()]).toEqual([200, { name: 'petra', role: 'viewer' }]);
    const short = spawnSync(process.execPath, [cli, 'operator', 'password'], { env, input: 'short\n', encoding: 'utf8' });
    expect([short.status, short.stderr]).toEqual([1, expect.stringContaining('12 to 256 characters')]);
  });

  it('follows events, and goes on after the last one that was seen', async () => {
    const first = stack.culvert('events', '--device', 'porch', '--count', '2', '--json');
    // Whatever was missed by a late start comes again with the next move; two are enough.
    const moving = (async () => {
      for (let i = 0; i < 16 && !(await Promise.race([first.then(() => true), delay(1_500).then(() => false)])); i++) {
        await stack.admin('POST', '/v1/devices/porch/disconnect');
      }
    })();
    const lines = (await first).stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    await moving;
    expect(lines.map(({ data }) => data.subject)).toEqual(['porch', 'porch']);
    const [{ id }, { data: second }] = lines;
    const again = await stack.culvert('events', '--device', 'porch', '--since', id, '--count', '1', '--json');
    expect(JSON.parse(again.stdout).data.id).toBe(second.id);
    const words = await stack.culvert('events', '--device', 'porch', '--since', id, '--count', '1');
    expect(words.stdout).toMatch(new RegExp(`${second.type} +porch`));
  }, 180_000);

  it('examines a machine as an operator, a server and a device see it', async () => {
    const areas = ({ findings }: { findings: { area: string; what: string; status: string }[] }) =>
      Object.fromEntries(findings.map(({ area, what, status }) => [`${area}: ${what}`, status]));
    const operator = await json('doctor');
    expect(operator).toMatchObject({ role: 'operator', ok: true });
    expect(areas(operator)).toMatchObject({
      ...{ 'admin: token': 'ok', 'admin: instances': 'ok', 'server: websocket': 'ok', 'clock: against the server': 'ok' },
    });
    const server = await stack.culvert('doctor', '--as', 'server', '--json');
    expect(areas(JSON.parse(server.stdout))).toMatchObject({
      ...{ 'versions: redis-server': 'ok', 'versions: nats-server': 'ok', 'versions: nginx with Lua': 'ok' },
    });
    expect(areas(await json('doctor', '--server', stack.info.edge))).toMatchObject({
      'server: tcp': 'ok',
      'server: websocket': 'ok',
    });
    const nobody = await stack.culvert('doctor', '--server', 'http://127.0.0.1:1');
    expect([nobody.code, nobody.stdout]).toEqual([1, expect.stringContaining('->')]);
    const nowhere = await stack.culvert('doctor', '--server', 'http://nowhere.invalid');
    expect([nowhere.code, nowhere.stdout]).toEqual([1, expect.stringContaining('make an A or AAAA record')]);
    const foreign = await startWebTarget();
    const proxied = await stack.culvert('doctor', '--server', `http://127.0.0.1:${foreign.port}`);
    expect([proxied.code, proxied.stdout]).toEqual([1, expect.stringContaining('is this a Culvert server?')]);
    await foreign.close();
  }, 180_000);
});
