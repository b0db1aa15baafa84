import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createToken, enroll } from '@culvert/agent';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { tcpVisitor, until } from './support.ts';

let stack: Stack;
let tcp: Target;
let web: Target;
const dir = mkdtempSync(join(tmpdir(), 'culvert-enrolment-'));

beforeAll(async () => {
  stack = await startStack({ env: { CULVERT_GRACE: '5s', CULVERT_LIMIT_FAILED_TOKENS_PER_ADDRESS: '20' } });
  tcp = await startTcpTarget(echo);
  web = await startWebTarget();
});
afterAll(async () => {
  await stack?.stop();
  await tcp?.close();
  await web?.close();
  rmSync(dir, { recursive: true, force: true });
});

async function api(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const { admin, adminToken } = stack.info;
  const response = await fetch(admin + path, {
    method,
    headers: { authorization: `Bearer ${adminToken}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  if (!response.ok) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
  return answer;
}
const keyOf = async (body: object = {}): Promise<{ key: string; id: string }> =>
  (await api('POST', '/v1/enrolment-keys', body)) as { key: string; id: string };
const codeOf = (work: Promise<void>): Promise<string> =>
  work.then(
    () => 'ok',
    (error: { code: string }) => error.code,
  );

describe('enrolment', () => {
  it('makes a device known by a key, with its labels, and counts each device once', async () => {
    const { key, id } = await keyOf({ labels: { site: 'berlin' }, uses: 2 });
    const token = createToken();
    const at = { servers: [stack.info.edge], key };
    expect(await codeOf(enroll({ ...at, name: 'enrolled-1', token }))).toBe('ok');
    expect(await codeOf(enroll({ ...at, name: 'enrolled-1', token }))).toBe('ok'); // the answer was lost
    expect(await codeOf(enroll({ ...at, name: 'enrolled-1', token: createToken() }))).toBe('already_exists');
    expect(await codeOf(enroll({ ...at, name: 'enrolled-2', token: createToken() }))).toBe('ok');
    expect(await codeOf(enroll({ ...at, name: 'enrolled-3', token: createToken() }))).toBe('forbidden');
    expect(await codeOf(enroll({ ...at, name: 'enrolled-1', token }))).toBe('ok');
    expect(await api('GET', '/v1/devices/enrolled-1')).toMatchObject({ labels: { site: 'berlin' } });
    const found = (await api('GET', '/v1/devices?label=site%3Dberlin')) as { devices: { name: string }[] };
    expect(found.devices.map(({ name }) => name)).toEqual(['enrolled-1', 'enrolled-2']);
    const audit = (await api('GET', `/v1/audit?operator=key:${id}&object=enrolled-3`)) as { entries: object[] };
    expect(audit.entries).toMatchObject([{ action: 'device.enrol', outcome: 'forbidden', from: '127.0.0.1' }]);
    const agent = await stack.runAgent({ name: 'enrolled-1', token, mappings: [`80=127.0.0.1:${web.port}`] });
    await agent.kill();
  });

  it('lets no more devices in than the key has uses, however many ask at once', async () => {
    const { key } = await keyOf({ uses: 3 });
    const asked = Array.from({ length: 8 }, (_, i) =>
      codeOf(enroll({ servers: [stack.info.edge], key, name: `crowd-${i}`, token: createToken() })),
    );
    const codes = await Promise.all(asked);
    expect(codes.filter((code) => code === 'ok')).toHaveLength(3);
    expect(codes.filter((code) => code === 'forbidden')).toHaveLength(5);
  });

  it('is refused with a key that was withdrawn, has expired, or never was; a revoked device stays out', async () => {
    const ask = (key: string, name = 'late', token = createToken()) =>
      codeOf(enroll({ servers: [stack.info.edge], key, name, token }));
    const { key, id } = await keyOf({ uses: null });
    const token = createToken();
    expect(await ask(key, 'soon-gone', token)).toBe('ok');
    await api('DELETE', '/v1/devices/soon-gone');
    expect(await ask(key, 'soon-gone', token)).toBe('forbidden');
    await api('DELETE', `/v1/enrolment-keys/${id}`);
    expect(await ask(key)).toBe('unauthorized');
    expect(await ask(`${key.slice(0, -1)}_`)).toBe('unauthorized');
    const brief = await keyOf({ expires_in_ms: 1_000 });
    await until('the key has expired', async () => ((await ask(brief.key, 'brief')) === 'unauthorized' ? true : undefined));
  });

  it('happens at the first start of an agent, whose token file nobody else can read', async () => {
    const { key } = await keyOf();
    const file = join(dir, 'first.token');
    const keyFile = join(dir, 'key');
    writeFileSync(keyFile, `${key}\n`);
    const device = { name: 'first', token: '', mappings: [`tcp:7=127.0.0.1:${tcp.port}`] };
    const first = await stack.runAgent({ ...device, args: ['--token-file', file, '--enroll-file', keyFile] });
    await first.stop();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, 'utf8')).toMatch(/^cvd_[\w-]{43}_[0-9a-z]{7}\n$/);
    const again = await stack.runAgent({ ...device, args: ['--token-file', file] }); // without the key
    await again.stop();
    expect(existsSync(`${file}.new`)).toBe(false);
  });
});

describe('rotation', () => {
  it('has no gap: both tokens are good until the new one is used, on transfers too', async () => {
    const old = await stack.addDevice('rota');
    const agent = await stack.runAgent({ name: 'rota', token: old, mappings: [`tcp:7=127.0.0.1:${tcp.port}`] });
    const { token } = (await api('POST', '/v1/devices/rota/token')) as { token: string };
    const port = agent.endpoint(7).public_port as number;
    expect((await tcpVisitor(port, 'with the old')).data.toString()).toBe('with the old');
    await agent.kill();
    const still = await stack.runAgent({ name: 'rota', token: old, mappings: [`tcp:7=127.0.0.1:${tcp.port}`] });
    await still.kill();
    const fresh = await stack.runAgent({ name: 'rota', token, mappings: [`tcp:7=127.0.0.1:${tcp.port}`] });
    expect((await tcpVisitor(port, 'with the new')).data.toString()).toBe('with the new');
    await fresh.kill();
    const late = stack.spawnAgent({ name: 'rota', token: old, mappings: ['80'] });
    expect(await late.event('refused')).toMatchObject({ status: 401 });
    await late.kill();
  });
});

describe('a policy', () => {
  it('says which ports a device may offer, who may visit them, how many and how fast, and is changed live', async () => {
    const token = await stack.addDevice('bound');
    const path = '/v1/devices/bound/policy';
    await api('PUT', path, { ports: ['tcp:7'] });
    const refused = stack.spawnAgent({ name: 'bound', token, mappings: [`tcp:8=127.0.0.1:${tcp.port}`] });
    expect(await refused.event('refused')).toMatchObject({ status: 403, message: expect.stringContaining('tcp:8') });
    await refused.kill();
    const agent = await stack.runAgent({ name: 'bound', token, mappings: [`tcp:7=127.0.0.1:${tcp.port}`] });
    const port = agent.endpoint(7).public_port as number;
    const served = async (): Promise<boolean> => (await tcpVisitor(port, 'hello')).data.toString() === 'hello';
    const becomes = (wanted: boolean) => until(`served: ${wanted}`, async () => ((await served()) === wanted ? true : undefined));
    expect(await served()).toBe(true);
    await api('PUT', path, { ports: ['tcp:7'], allow: [{ port: 7, from: ['192.0.2.0/24', '2001:db8::/32'] }] });
    await becomes(false);
    await api('PUT', path, { allow: [{ port: 7, from: ['127.0.0.0/8', '::1'] }] });
    await becomes(true);

    await api('PUT', path, { visitors: 1 });
    const one = net.connect(port, '127.0.0.1');
    one.write('x');
    await new Promise((resolve) => one.once('data', resolve));
    await becomes(false);
    one.destroy();
    await becomes(true);

    await api('PUT', path, { visitors_per_second: 0.01 });
    await becomes(false);
    await api('PUT', path, {});
    await becomes(true);
    await agent.kill();
  });

  it('is refused when it cannot be meant', async () => {
    await stack.addDevice('vague');
    const put = (policy: unknown) => api('PUT', '/v1/devices/vague/policy', policy);
    await expect(put({ allow: [{ port: 22, from: ['10.0.0.0/33'] }] })).rejects.toThrow(/10\.0\.0\.0\/33.*expected an address/);
    await expect(put({ ports: ['tcp:70000'] })).rejects.toThrow(/65535/);
    await expect(put({ visitors: 0 })).rejects.toThrow(/400|bad_request/);
    await expect(put({ visitor: 5 })).rejects.toThrow(/bad_request/);
  });
});

describe('the operator command line', () => {
  const culvert = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await stack.culvert(...args);
    if (code !== 0) throw new Error(`${args.join(' ')}: ${stderr}`);
    return stdout;
  };

  it('adds operators and keys, labels, bounds and rotates devices, and reads what was done', async () => {
    expect(await culvert('operator', 'add', 'vera', '--role', 'viewer')).toMatch(/vera is viewer\..*\ncvo_vera\./s);
    expect(await culvert('enroll-key', 'add', '--uses', 'any', '--expires', '2h', '--label', 'site=bonn')).toMatch(
      /\ncve_[a-z0-9]+\./,
    );
    expect(await culvert('enroll-key', 'list')).toMatch(/any\s.*site=bonn/);
    await stack.addDevice('by-hand');
    expect(await culvert('device', 'label', 'by-hand', 'site=bonn', 'rack=7')).toBe('site=bonn rack=7\n');
    expect(await culvert('device', 'label', 'by-hand', 'rack=')).toBe('site=bonn\n');
    expect(await culvert('device', 'list', '--label', 'site=bonn')).toMatch(/by-hand/);
    const set = await culvert(
      'device',
      'policy',
      'by-hand',
      '--visitors',
      '5',
      '--ports',
      '22,http:*',
      '--allow',
      '22=10.0.0.0/8',
      '--json',
    );
    const policy = { visitors: 5, ports: ['tcp:22', 'http:*'], allow: [{ port: 22, from: ['10.0.0.0/8'] }] };
    expect(JSON.parse(set)).toEqual(policy);
    expect(JSON.parse(await culvert('device', 'policy', 'by-hand', '--json'))).toEqual(policy);
    expect(await culvert('device', 'rotate', 'by-hand')).toMatch(/\ncvd_/);
    const done = await culvert('audit', '--object', 'by-hand');
    expect(done.split('\n')[1]).toMatch(/root\s+device\.rotate\s+by-hand\s+127\.0\.0\.1\s+ok/);
    expect(await culvert('operator', 'remove', 'vera')).toBe('vera is removed.\n');
    expect((await stack.culvert('device', 'label', 'by-hand', 'nothing')).code).toBe(2);
  });
});

describe('wrong tokens', () => {
  it('are slowed down by address, while devices that were in before get in', async () => {
    const token = await stack.addDevice('honest');
    const good = await stack.runAgent({ name: 'honest', token, mappings: [`tcp:7=127.0.0.1:${tcp.port}`] });
    await good.kill();
    const edge = new URL(stack.info.edge);
    const attempt = () =>
      fetch(`${edge.origin}/v1/enroll?name=x`, {
        method: 'POST',
        headers: { authorization: 'Bearer nonsense', 'device-token': createToken() },
      });
    await until('429', async () => {
      const answer = await attempt();
      if (answer.status !== 429) return undefined;
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
      return true;
    });
    const back = await stack.runAgent({ name: 'honest', token, mappings: [`tcp:7=127.0.0.1:${tcp.port}`] });
    await back.kill();
  });
});
