import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startSilentTarget, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { until } from './support.ts';

interface Step {
  step: string;
  status: string;
  ms: number | null;
  code: string;
  detail: string;
}
interface Trace {
  ok: boolean;
  ms: number;
  failure: Step | null;
  steps: Step[];
  endpoints: { port: number; ok: boolean; failure: Step | null; steps: Step[] }[];
}

let stack: Stack;
let web: Target;
let tcp: Target;
let silent: Pick<Target, 'port' | 'close'>;
let refusing: number;

beforeAll(async () => {
  stack = await startStack({ env: { CULVERT_LIMIT_LOCAL_CONNECT_MS: '1500', CULVERT_LIMIT_RECONNECTING_MS: '300' } });
  [web, tcp, silent] = await Promise.all([startWebTarget(), startTcpTarget(echo), startSilentTarget()]);
  const gone = await startTcpTarget(echo);
  refusing = gone.port;
  await gone.close();
});

afterAll(async () => {
  await stack?.stop();
  await Promise.all([web?.close(), tcp?.close(), silent?.close()]);
});

const trace = async (name: string): Promise<Trace> => {
  const { status, body } = await stack.admin('GET', `/v1/devices/${name}/trace`);
  expect([status, body]).toMatchObject([200, {}]);
  expect((body as Trace).ms).toBeLessThan(20_000); // 15 s by its own clock, on a machine that is not ours alone
  return body;
};
const run = async (name: string, ...mappings: string[]): Promise<RunningAgent> =>
  stack.runAgent({ name, token: await stack.addDevice(name), mappings });
const both = (): string[] => [`80=127.0.0.1:${web.port}`, `tcp:22=127.0.0.1:${tcp.port}`];
const serviceOf = (name: string) => {
  const found = stack.info.services.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
};
/** Stands still for as long as `act` takes, with all its children. */
async function frozen<T>(pid: number, act: () => Promise<T>): Promise<T> {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  const all = [pid, ...children];
  for (const one of all) process.kill(one, 'SIGSTOP');
  try {
    await until('every thread stands still', async () => (all.every(standsStill) ? true : undefined));
    return await act();
  } finally {
    for (const one of all) process.kill(one, 'SIGCONT');
  }
}

function standsStill(pid: number): boolean {
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.every((thread) => / T /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8').replace(/^.*\)/, '')));
}

describe('the trace of a device', () => {
  it('names every step with its time when everything is well, in words as well', async () => {
    const agent = await run('well', ...both());
    const found = await trace('well');
    expect(found).toMatchObject({ ok: true, failure: null });
    const stepsOf = (port: number) => found.endpoints.find((one) => one.port === port)?.steps ?? [];
    const inside = ['lease', 'listener', 'port', 'ingress', 'control', 'dial', 'target'];
    expect(stepsOf(80).map(({ step }) => step)).toEqual(['edge', 'route', ...inside]);
    expect(stepsOf(22).map(({ step }) => step)).toEqual(inside);
    for (const { status, ms } of [...stepsOf(80), ...stepsOf(22)]) expect([status, typeof ms]).toEqual(['ok', 'number']);
    const told = await stack.culvert('trace', 'well');
    expect(told).toMatchObject({ code: 0, stderr: '' });
    expect(told.stdout).toMatch(/target +ok +\d+ +the local target of port 22 accepts/);
    await agent.stop();
  });

  it('says 404 for a device that is unknown, and what is wrong with a name', async () => {
    expect(await stack.admin('GET', '/v1/devices/nobody/trace')).toMatchObject({ status: 404, body: { code: 'not_found' } });
    expect(await stack.admin('GET', '/v1/devices/No_Body/trace')).toMatchObject({ status: 400 });
    expect((await stack.culvert('trace', 'nobody')).code).toBe(1);
  });

  it('knows a device that never came, one that left and since when, and one that is revoked', async () => {
    await stack.addDevice('never');
    expect((await trace('never')).failure).toMatchObject({
      step: 'lease',
      code: 'device_offline',
      detail: expect.stringContaining('never connected'),
    });
    const agent = await run('left', ...both());
    await agent.stop();
    const grace = await until('it is in grace', async () => {
      const found = await trace('left');
      return found.failure?.detail.includes('bye') ? found : undefined;
    });
    expect(grace.failure).toMatchObject({ step: 'lease', code: 'device_offline' });
    expect(grace.failure?.detail).toMatch(/in grace since \d{4}-\d\d-\d\dT[\d:]+Z \(bye\).* kept until \d{4}-/);
    expect(grace.endpoints[0]?.steps.find(({ step }) => step === 'target')).toMatchObject({ status: 'skipped', ms: null });
    const told = await stack.culvert('trace', 'left');
    expect(told.code).toBe(5);
    expect(told.stdout).toContain('left cannot be reached: lease: offline, in grace since');
    await stack.admin('DELETE', '/v1/devices/left');
    expect((await trace('left')).failure).toMatchObject({ step: 'lease', code: 'revoked' });
  });

  it('tells local targets that refuse and are silent from those that are well', async () => {
    const agent = await run('targets', `80=127.0.0.1:${refusing}`, `tcp:1=127.0.0.1:${silent.port}`, ...both().slice(1));
    const { endpoints, ok } = await trace('targets');
    expect(ok).toBe(false);
    const failures = Object.fromEntries(endpoints.map(({ port, failure }) => [port, failure && [failure.step, failure.code]]));
    expect(failures).toEqual({ 80: ['target', 'local_refused'], 1: ['target', 'local_timeout'], 22: null });
    await agent.stop();
  });

  it('finds a control connection that is frozen', async () => {
    const agent = await run('frozen', ...both());
    agent.pause();
    const { failure } = await trace('frozen');
    expect(failure).toMatchObject({ step: 'control', code: 'control_silent', detail: expect.stringContaining('frozen') });
    agent.resume();
    await agent.stop();
  });

  it('finds ports that its listener has not bound', async () => {
    const agent = await run('unbound', ...both());
    const { secrets } = JSON.parse(readFileSync(join(stack.stateDir, 'memory.json'), 'utf8')) as {
      secrets: Record<string, string>;
    };
    const pass = secrets['nats.operator'] ?? '';
    const operator = await connect({ servers: new URL(stack.info.nats).host, user: 'operator', pass });
    const listener = serviceOf('tcp-listener').id;
    await operator.request(`cmd.listener.${listener}.unbind`, JSON.stringify({ device: 'unbound', epoch: agent.ready.epoch }));
    await operator.close();
    expect((await trace('unbound')).failure).toMatchObject({ step: 'listener', code: 'not_bound' });
    await agent.stop();
  });

  it('finds an edge that does not answer', async () => {
    const agent = await run('edgeless', ...both());
    const { endpoints } = await frozen(stack.info.nginx.pid, () => trace('edgeless'));
    expect(endpoints.find(({ port }) => port === 80)?.failure).toMatchObject({ step: 'edge', code: 'edge_silent' });
    await agent.stop();
  });

  it('finds an ingress that is gone', async () => {
    const agent = await run('ingressless', ...both());
    const { failure } = await frozen(serviceOf('ws-ingress').pid, () => trace('ingressless'));
    expect(failure).toMatchObject({ step: 'ingress', code: 'ingress_gone' });
    await agent.stop();
  });

  it('finds a listener that is gone', async () => {
    const agent = await run('listenerless', ...both());
    const { failure } = await frozen(serviceOf('tcp-listener').pid, () => trace('listenerless'));
    expect(failure).toMatchObject({ step: 'listener', code: 'listener_gone' });
    await agent.stop();
  });

  it('says that nobody can be asked while NATS is away', async () => {
    await stack.addDevice('busless');
    const { failure } = await frozen(stack.info.natsServer.pid, () => trace('busless'));
    expect(failure).toMatchObject({ step: 'lease', code: 'unavailable', detail: expect.stringContaining('NATS') });
  });
});

describe('waiting for a device', () => {
  it('answers when it is online, and when it is offline', async () => {
    const token = await stack.addDevice('awaited');
    const coming = stack.culvert('wait', 'awaited', '--for', 'online', '--timeout', '60s');
    const agent = await stack.runAgent({ name: 'awaited', token, mappings: both() });
    expect(await coming).toMatchObject({ code: 0, stdout: expect.stringContaining('awaited is connected') });
    const leaving = stack.admin('POST', '/v1/devices/awaited/wait?for=offline&timeout=60s');
    await agent.stop();
    expect(await leaving).toMatchObject({ status: 200, body: { reached: true, device: { name: 'awaited', state: 'grace' } } });
  });

  it('answers when the time is over, and refuses what it cannot wait for', async () => {
    await stack.addDevice('absent');
    expect(await stack.culvert('wait', 'absent', '--timeout', '100ms')).toMatchObject({ code: 5 });
    expect(await stack.culvert('wait', 'absent', '--timeout', 'soon')).toMatchObject({ code: 2 });
    expect(await stack.admin('POST', '/v1/devices/absent/wait?timeout=9h')).toMatchObject({ status: 400 });
    expect(await stack.admin('POST', '/v1/devices/absent/wait?for=ever')).toMatchObject({ status: 400 });
    expect(await stack.admin('POST', '/v1/devices/nobody/wait')).toMatchObject({ status: 404 });
  });
});

describe('steering', () => {
  it('disconnects a device, which comes back with the same names', async () => {
    const agent = await run('steered', ...both());
    expect(await stack.culvert('device', 'disconnect', 'steered')).toMatchObject({
      code: 0,
      stdout: 'steered is disconnected.\n',
    });
    const after = await until('it is back', () => (agent.readyCount() > 1 ? agent.endpoints() : undefined), 60_000);
    expect(after.map(({ url }) => url)).toEqual(agent.endpoints().map(({ url }) => url));
    expect(await stack.admin('POST', '/v1/devices/nobody/disconnect')).toMatchObject({ status: 404 });
    await agent.stop();
    await stack.addDevice('away');
    expect(await stack.admin('POST', '/v1/devices/away/disconnect')).toMatchObject({ body: { disconnected: false } });
  });

  it('winds an instance down as SIGTERM does', async () => {
    const before = serviceOf('port-allocator');
    const told = await stack.culvert('instance', 'wind-down', before.id);
    expect(told).toMatchObject({ code: 0, stdout: `${before.id} winds down.\n` });
    await until('its process is over', () => {
      try {
        process.kill(before.pid, 0);
        return undefined;
      } catch {
        return true;
      }
    });
    expect(await stack.admin('POST', '/v1/instances/no-such-one/wind-down')).toMatchObject({ status: 404 });
  });
});
