import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tcpVisitor, until } from '../e2e/support.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { commandsOf, runBlock } from './manual.ts';

const commands = commandsOf('docs/OPERATING.md');
const dir = mkdtempSync(join(tmpdir(), 'culvert-backup-'));
const STATE = join(dir, 'state');
const BACKUP = join(dir, 'backup');
const NAMES = ['stays', 'away'] as const;
let stack: Stack;
let web: Target;
let echoes: Target;
const tokens = new Map<string, string>();
const agents = new Map<string, RunningAgent>();
const endpoints = new Map<string, { url: string; port: number }>();

const connect = async (name: string): Promise<{ url: string; port: number }> => {
  const mappings = [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${echoes.port}`];
  const agent = await stack.runAgent({ name, token: tokens.get(name) ?? '', mappings });
  agents.set(name, agent);
  return { url: agent.endpoint(80).url as string, port: agent.endpoint(7).public_port as number };
};
const served = async (name: string): Promise<void> => {
  const { url, port } = endpoints.get(name) ?? { url: '', port: 0 };
  await until(
    `${name} is served by its name`,
    async () => ((await stack.fetchHost(new URL(url).host)).status === 200 ? true : undefined),
    60_000,
  );
  expect((await tcpVisitor(port, 'hello')).data.toString()).toBe('hello');
};

beforeAll(async () => {
  mkdirSync(STATE);
  mkdirSync(BACKUP);
  [web, echoes] = await Promise.all([startWebTarget(), startTcpTarget(echo)]);
  stack = await startStack({ stateDir: STATE });
  for (const name of NAMES) {
    tokens.set(name, await stack.addDevice(name));
    endpoints.set(name, await connect(name));
  }
}, 180_000);
afterAll(async () => {
  await stack?.stop();
  await Promise.all([web?.close(), echoes?.close()]);
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

it('has no command in the manual marked to be run that is not run here', () => {
  const elsewhere = ['listener-settings', 'listener-ready', 'region']; // listener.test.ts, region.test.ts
  expect([...commands.keys()]).toEqual(['backup', 'restore', ...elsewhere]);
});

describe('a backup, made by the commands of the manual', () => {
  it('brings names, ports and tokens back after everything was lost', async () => {
    await agents.get('away')?.stop();
    await runBlock(commands.get('backup'), { STATE, BACKUP, REDIS_URL: stack.info.redis.address });
    // Later than the backup: a device has moved to another tenure, and a third one has come.
    await agents.get('stays')?.stop();
    await connect('stays');
    await stack.addDevice('too-late');
    await agents.get('stays')?.stop();
    await stack.restart(async () => {
      for (const name of readdirSync(STATE)) rmSync(join(STATE, name), { recursive: true });
      await runBlock(commands.get('restore'), { STATE, BACKUP });
    });
    for (const name of NAMES) {
      expect(await connect(name)).toEqual(endpoints.get(name));
      expect(agents.get(name)?.ready.resumed, name).toBe(true);
      await served(name);
    }
    expect((await stack.admin('GET', '/v1/devices/too-late')).status).toBe(404);
  }, 240_000);

  it('is not needed where only Redis is lost: it gets everything back from NATS and from those who live', async () => {
    rmSync(join(STATE, 'redis/appendonlydir'), { recursive: true });
    process.kill(stack.info.redis.pid, 'SIGKILL');
    await until(
      'the registry is back',
      async () => ((await stack.admin('GET', '/v1/devices/away').catch(() => ({ status: 0 }))).status === 200 ? true : undefined),
      90_000,
    );
    for (const name of NAMES) await served(name);
    const list = await stack.admin('GET', '/v1/devices');
    expect((list.body as { devices: { name: string }[] }).devices.map(({ name }) => name).sort()).toEqual([...NAMES].sort());
  }, 240_000);
});
