import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Stack, type StackInfo, startStack } from '@culvert/test/harness/system.ts';
import { connect } from '@nats-io/transport-node';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { descendantsOf, isRunning } from './processes.ts';

const MAIN = join(import.meta.dirname, '../src/main.ts');

async function until(what: string, check: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

const healthOf = async (url: string): Promise<number> => (await fetch(url, { signal: AbortSignal.timeout(2_000) })).status;

/** Runs the stack's entry with settings that it must refuse. */
async function refused(env: Record<string, string>): Promise<{ code: number; text: string }> {
  const child = spawn(process.execPath, [MAIN], { env: { PATH: process.env.PATH, CULVERT_DEMO: '0', ...env } });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
  }
  const [code] = (await once(child, 'exit')) as [number];
  return { code, text };
}

describe('a running stack', () => {
  let stack: Stack;
  let info: StackInfo;
  beforeAll(async () => {
    stack = await startStack({ env: { CULVERT_REPLICAS: 'ws-ingress=2' } });
    info = stack.info;
  });
  afterAll(() => stack?.stop());

  it('says in stack.json where everything is, to its owner only', async () => {
    expect(Object.keys(info).sort()).toEqual(
      ['admin', 'adminToken', 'ca', 'demo', 'domain', 'edge', 'nats', 'natsServer', 'nginx', 'redis', 'services'].sort(),
    );
    expect(statSync(join(stack.stateDir, 'stack.json')).mode & 0o777).toBe(0o600);
    expect(info.demo).toBeNull();
    expect(info.services.map(({ id }) => id).sort()).toEqual(
      ['admin-1', 'lease-manager-1', 'port-allocator-1', 'tcp-listener-1', 'ws-ingress-1', 'ws-ingress-2'].sort(),
    );
    for (const { health, pid } of info.services) {
      expect(await healthOf(health)).toBe(200);
      expect(isRunning(pid)).toBe(true);
    }
  });

  it('keeps all its files to its owner', () => {
    for (const file of ['', 'stack.json', 'memory.json', 'lock.json', 'redis/users.acl', 'nats/nats.conf', 'logs/admin-1.log']) {
      expect(statSync(join(stack.stateDir, file)).mode & 0o077, file).toBe(0);
    }
  });

  it('answers at the edge and at the API', async () => {
    expect((await stack.fetchHost('nobody.culvert.localhost')).status).toBe(404);
    expect((await stack.admin('GET', '/v1/devices')).status).toBe(200);
  });

  it('refuses a second stack in the same folder', async () => {
    const { code, text } = await refused({ CULVERT_STATE_DIR: stack.stateDir, CULVERT_PORT: '18901' });
    expect(code).toBe(2);
    expect(text).toContain(`CULVERT_STATE_DIR="${stack.stateDir}" is used by another stack (process ${stack.pid})`);
    expect(existsSync(join(stack.stateDir, 'stack.json'))).toBe(true);
  });

  it('names the port that is taken and its setting', async () => {
    const { port } = new URL(info.edge);
    const dir = mkdtempSync(join(tmpdir(), 'culvert-taken-'));
    const { code, text } = await refused({ CULVERT_STATE_DIR: dir, CULVERT_PORT: port, CULVERT_TCP_PORTS: '60000-60009' });
    rmSync(dir, { recursive: true });
    expect(code).toBe(2);
    expect(text).toContain(`CULVERT_PORT=${port}: port ${port} is taken by another program`);
  });

  it('lets the integrator hear events and nothing else', async () => {
    const url = new URL(info.nats);
    const nc = await connect({ servers: url.host, user: url.username, pass: url.password });
    const faults: string[] = [];
    void (async () => {
      for await (const status of nc.status()) if (status.type === 'error') faults.push(String(status.error));
    })();
    nc.subscribe('device.*.*', { callback: () => {} });
    await nc.flush();
    expect(faults).toEqual([]);
    await expect(nc.request('cmd.device.list', '{}', { timeout: 2_000 })).rejects.toThrow(/permissions violation/i);
    await nc.close();
  });

  it('gives every service no more of the store than it needs', async () => {
    const acl = readFileSync(join(stack.stateDir, 'redis/users.acl'), 'utf8');
    expect(acl).toMatch(/^user default off/m);
    const { secrets } = JSON.parse(readFileSync(join(stack.stateDir, 'memory.json'), 'utf8')) as {
      secrets: Record<string, string>;
    };
    const { host } = new URL(info.redis.address);
    const redis = new Redis(`redis://ws-ingress:${secrets['redis.ws-ingress']}@${host}`);
    await expect(redis.set('lease:alice', 'x')).rejects.toThrow(/NOPERM/);
    await expect(redis.get('device:alice')).rejects.toThrow(/NOPERM/);
    await expect(redis.flushall()).rejects.toThrow(/NOPERM/);
    expect(await redis.get('instance:ws-ingress-1')).toContain('ws-ingress-1');
    redis.disconnect();
  });

  it('starts whatever dies again and says so in stack.json', async () => {
    const victims = [...info.services, info.redis, info.natsServer, info.nginx].map(({ pid }) => pid);
    for (const pid of victims) process.kill(pid, 'SIGKILL');
    await until('everything has another pid and is well', async () => {
      const now = stack.info;
      const pids = [...now.services, now.redis, now.natsServer, now.nginx].map(({ pid }) => pid);
      if (pids.some((pid) => victims.includes(pid) || !isRunning(pid))) return false;
      const ready = now.services.map(({ health }) => healthOf(health.replace('/healthz', '/readyz')).catch(() => 0));
      return (await Promise.all(ready)).every((status) => status === 200);
    });
    await until(
      'the API answers',
      async () => (await stack.admin('GET', '/v1/devices').catch(() => ({ status: 0 }))).status === 200,
    );
    expect((await stack.fetchHost('nobody.culvert.localhost')).status).toBe(404);
  });
});

describe('the end of a stack', () => {
  it('leaves no process behind, and the next start knows the devices', async () => {
    const stateDir = mkdtempSync(join(tmpdir(), 'culvert-again-'));
    try {
      const first = await startStack({ stateDir });
      const { adminToken } = first.info;
      await first.addDevice('alice');
      const started = descendantsOf(first.pid);
      expect(started.length).toBeGreaterThan(8);
      expect(await first.stop()).toBe(0);
      expect(started.filter(isRunning)).toEqual([]);
      expect(existsSync(join(stateDir, 'stack.json'))).toBe(false);
      expect(existsSync(join(stateDir, 'lock.json'))).toBe(false);

      const second = await startStack({ stateDir });
      expect(second.info.adminToken).toBe(adminToken);
      expect((await second.admin('GET', '/v1/devices/alice')).body).toMatchObject({ name: 'alice', state: 'offline' });

      const left = descendantsOf(second.pid);
      process.kill(second.pid, 'SIGKILL');
      // The lock makes the third wait until whatever the second left behind is gone.
      const third = await startStack({ stateDir });
      expect(left.filter(isRunning)).toEqual([]);
      expect((await third.admin('GET', '/v1/devices/alice')).body).toMatchObject({ name: 'alice' });
      expect(await third.stop()).toBe(0);
      await second.stop();
    } finally {
      rmSync(stateDir, { recursive: true, force: true });
    }
  }, 120_000);

  it('comes by itself when the stack is killed, stack.json included', async () => {
    const stack = await startStack();
    const started = descendantsOf(stack.pid);
    process.kill(stack.pid, 'SIGKILL');
    await until('everything is gone', () => !started.some(isRunning));
    expect(existsSync(join(stack.stateDir, 'stack.json'))).toBe(false);
    await stack.stop();
  }, 60_000);
});

describe('two stacks', () => {
  it('run side by side', async () => {
    const [one, two] = await Promise.all([startStack(), startStack({ env: { CULVERT_DOMAIN: 'other.localhost' } })]);
    try {
      await one.addDevice('alice');
      expect((await one.admin('GET', '/v1/devices/alice')).status).toBe(200);
      expect((await two.admin('GET', '/v1/devices/alice')).status).toBe(404);
      expect([one.info.domain, two.info.domain]).toEqual(['culvert.localhost', 'other.localhost']);
    } finally {
      await Promise.all([one.stop(), two.stop()]);
    }
  }, 90_000);
});
