import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startSilentTarget, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { curl, tcpVisitor, until } from './support.ts';

let stack: Stack;
let web: Target;
let tcp: Target;
let token: string;

// Longer than the edge keeps an idle connection: an agent that stops waits for the transfers that are still open.
const GRACE_MS = 8_000;
const mappings = (): string[] => [`80=127.0.0.1:${web.port}`, `tcp:22=127.0.0.1:${tcp.port}`];
const start = (): Promise<RunningAgent> => stack.runAgent({ name: 'alice', token, mappings: mappings() });
const hostOf = (agent: RunningAgent): string => new URL(agent.endpoint(80).url as string).hostname;

beforeAll(async () => {
  stack = await startStack({
    env: {
      CULVERT_GRACE: `${GRACE_MS}ms`,
      CULVERT_HEARTBEAT: '1s',
      CULVERT_LIMIT_RECONNECTING_MS: '300',
    },
  });
  web = await startWebTarget();
  tcp = await startTcpTarget(echo);
  token = await stack.addDevice('alice');
});
afterAll(async () => {
  await stack?.stop();
  await web?.close();
  await tcp?.close();
});

describe('a name over its life', () => {
  it('serves the page by name, tells the device is offline when it left, and is the same when it is back in time', async () => {
    const agent = await start();
    const host = hostOf(agent);
    expect(host).toMatch(/^[a-z]+-[a-z]+-[a-z0-9]{6}\./);
    const page = await curl(stack.info.edge, host, '/');
    expect(page.stdout).toContain(`hello from ${host}`);
    const publicPort = agent.endpoint(22).public_port as number;
    expect((await tcpVisitor(publicPort, 'ping')).data.toString()).toBe('ping');

    await agent.stop();
    const offline = await until('the offline page', async () => {
      const answer = await curl(stack.info.edge, host, '/', '-i');
      return answer.stdout.startsWith('HTTP/1.1 503') ? answer.stdout : undefined;
    });
    expect(offline.toLowerCase()).toContain('retry-after:');
    expect(offline).toMatch(/offline/i);
    expect(offline).toContain(new Date().toISOString().slice(0, 10));
    const json = await curl(stack.info.edge, host, '/', '-H', 'Accept: application/json');
    expect(JSON.parse(json.stdout)).toMatchObject({ code: 'device_offline' });
    const refused = await tcpVisitor(publicPort, 'ping');
    expect(refused.data.length).toBe(0);
    expect(refused.error).toBe('ECONNRESET');

    const again = await start();
    expect(hostOf(again)).toBe(host);
    expect(again.endpoint(22).public_port).toBe(publicPort);
    expect(again.ready.resumed).toBe(true);
    expect((await curl(stack.info.edge, host, '/')).stdout).toContain(`hello from ${host}`);
    await again.stop();
  });

  it('is freed after the grace period: 404, lease.expired, and a new name at the next connect', async () => {
    const agent = await start();
    const host = hostOf(agent);
    const events = await stack.events('lease.expired.alice');
    await agent.stop();
    const expired = await events.next(GRACE_MS + 15_000);
    expect(expired.data).toMatchObject({ epoch: agent.ready.epoch });
    await until('the 404 page', async () =>
      (await curl(stack.info.edge, host, '/', '-o', '/dev/null', '-w', '%{http_code}')).stdout === '404' ? true : undefined,
    );
    await events.close();
    const again = await start();
    expect(hostOf(again)).not.toBe(host);
    expect(again.ready.resumed).toBe(false);
    await again.stop();
  });

  it('is chosen by the operator at any time: a connected device has it at once, and keeps it when its lease has expired', async () => {
    const agent = await start();
    const former = hostOf(agent);
    const said = await stack.culvert('device', 'host', 'alice', '80', 'shop');
    expect(said).toMatchObject({ code: 0, stdout: expect.stringContaining('leads to the device now') });
    const chosen = `shop.${stack.info.domain}`;
    await until('the device is told', () =>
      agent.events.some(({ event, url }) => event === 'endpoint' && String(url).includes(chosen)) ? true : undefined,
    );
    expect((await curl(stack.info.edge, chosen, '/')).stdout).toContain(`hello from ${chosen}`);
    expect((await curl(stack.info.edge, former, '/', '-o', '/dev/null', '-w', '%{http_code}')).stdout).toBe('404');
    const events = await stack.events('lease.expired.alice');
    await agent.stop();
    await events.next(GRACE_MS + 15_000);
    await events.close();
    const again = await start();
    expect(again.ready.resumed).toBe(false);
    expect(hostOf(again)).toBe(chosen);
    await again.stop();
    const { body } = await stack.admin('GET', '/v1/audit?action=device.host');
    expect((body as { entries: unknown[] }).entries[0]).toMatchObject({
      ...{ operator: 'root', object: 'alice', outcome: 'ok', detail: { port: 80, host: 'shop' } },
    });
  });

  it('answers an unknown name with a 404 page', async () => {
    const answer = await curl(stack.info.edge, `no-such-name.${stack.info.domain}`, '/', '-i');
    expect(answer.stdout).toMatch(/^HTTP\/1.1 404/);
    expect(answer.stdout).toContain('<html');
  });
});

describe('a device whose local target is not well', () => {
  it('shows a 502 page when the target refuses, a 504 page when it is silent, and its own errors as they are', async () => {
    const dead = await startTcpTarget(echo);
    const deadPort = dead.port;
    await dead.close();
    const silent = await startSilentTarget();
    const name = 'poorly';
    const agent = await stack.runAgent({
      name,
      token: await stack.addDevice(name),
      mappings: [`80=127.0.0.1:${deadPort}`, `http:81=127.0.0.1:${silent.port}`, `http:82=127.0.0.1:${web.port}`],
    });
    const of = (port: number): string => new URL(agent.endpoint(port).url as string).hostname;
    const refused = await curl(stack.info.edge, of(80), '/', '-i');
    expect(refused.stdout).toMatch(/^HTTP\/1.1 502/);
    expect(refused.stdout).toContain('<html');
    expect(refused.stdout.toLowerCase()).not.toContain('culvert-secret');
    const late = await curl(stack.info.edge, of(81), '/', '-i', '-H', 'Accept: application/json');
    expect(late.stdout).toMatch(/^HTTP\/1.1 504/);
    expect(late.stdout).toContain('local_timeout');
    const own = await curl(stack.info.edge, of(82), '/status/503', '-i');
    expect(own.stdout).toContain("the device's own 503");
    await agent.stop();
    await silent.close();
  });
});

describe('two devices with one name', () => {
  it('refuses the second with 409 while the first lives, and lets it in within 3 s when the first is dead', async () => {
    const token = await stack.addDevice('twin');
    const first = await stack.runAgent({ name: 'twin', token, mappings: mappings() });
    const second = stack.spawnAgent({ name: 'twin', token, mappings: mappings() });
    const refusal = await second.event('refused');
    expect(refusal).toMatchObject({ code: 'name_in_use' });
    first.pause();
    const since = Date.now();
    const third = await stack.runAgent({ name: 'twin', token, mappings: mappings() });
    expect(Date.now() - since).toBeLessThan(30_000); // a start of the CLI included; the probe itself is 2 s
    expect(third.endpoint(80).url).toBe(first.endpoint(80).url);
    await second.kill();
    await first.kill();
    await third.stop();
  });
});

describe('the whole stack', () => {
  it('resumes the same leases at its second start', async () => {
    // With the grace period as it is shipped: an agent whose server is away waits longer between two attempts than the one above lasts.
    const whole = await startStack();
    try {
      const agent = await whole.runAgent({ name: 'keeper', token: await whole.addDevice('keeper'), mappings: mappings() });
      const before = agent.endpoints();
      await whole.restart();
      const after = await until(
        'the agent is ready again',
        () => (agent.readyCount() > 1 ? agent.endpoints() : undefined),
        60_000,
      );
      expect(after).toEqual(before);
      await agent.stop();
    } finally {
      await whole.stop();
    }
  }, 120_000);
});
