import net from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { tcpVisitor, until } from './support.ts';

let stack: Stack;
let web: Target;
let tcp: Target;

beforeAll(async () => {
  stack = await startStack({
    env: { CULVERT_LIMIT_USAGE_MS: '200', CULVERT_LIMIT_USAGE_CONTROL_MS: '300', CULVERT_HEARTBEAT: '1s' },
  });
  web = await startWebTarget();
  tcp = await startTcpTarget(echo);
});
afterAll(async () => {
  await stack?.stop();
  await web?.close();
  await tcp?.close();
});

interface Usage {
  days: { total: number; to_device: number; to_visitor: number; control: number }[];
  alert: number | null;
  cap: number | null;
}
const usage = async (name: string): Promise<Usage> => (await stack.admin('GET', `/v1/devices/${name}/usage`)).body;

describe('what a device moves on a day', () => {
  it('is counted while it moves, heartbeats included', async () => {
    const token = await stack.addDevice('meter');
    const agent = await stack.runAgent({ name: 'meter', token, mappings: [`tcp:7=127.0.0.1:${tcp.port}`] });
    const visitor = net.connect(agent.endpoint(7).public_port as number, '127.0.0.1');
    visitor.on('error', () => {}).on('data', () => {});
    visitor.write(Buffer.alloc(100_000));
    const running = await until('a transfer that still runs is counted', async () => {
      const [today] = (await usage('meter')).days;
      return today !== undefined && today.to_device === 100_000 && today.to_visitor === 100_000 ? today : undefined;
    });
    visitor.destroy();
    const later = await until('heartbeats are counted', async () => {
      const [today] = (await usage('meter')).days;
      return today !== undefined && today.control > running.control + 8 ? today : undefined;
    });
    expect(later).toMatchObject({ to_device: 100_000, to_visitor: 100_000 });
    expect(later.total).toBe(200_000 + later.control);
  });

  it('has a cap: visitors are refused and told so until it is raised, and an event says it', async () => {
    const token = await stack.addDevice('capped');
    const events = await stack.events('device.budget.capped');
    const agent = await stack.runAgent({
      name: 'capped',
      token,
      mappings: [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${tcp.port}`],
    });
    const policy = { day_bytes_alert: 20_000, day_bytes_cap: 50_000 };
    expect((await stack.admin('PUT', '/v1/devices/capped/policy', policy)).status).toBe(200);
    expect(await usage('capped')).toMatchObject({ alert: 20_000, cap: 50_000 });
    const port = agent.endpoint(7).public_port as number;
    expect((await tcpVisitor(port, Buffer.alloc(30_000))).data).toHaveLength(30_000);
    expect([(await events.next()).data, (await events.next()).data].map(({ reason }) => reason)).toEqual(['alert', 'cap']);
    await events.close();
    await until('visitors are refused', async () => ((await tcpVisitor(port, 'x')).data.length === 0 ? true : undefined));
    const { host } = new URL(agent.endpoint(80).url as string);
    const page = await stack.fetchHost(host);
    expect(page.status).toBe(503);
    expect(page.body).toContain('used up its data for today');
    expect((await stack.admin('PUT', '/v1/devices/capped/policy', { day_bytes_cap: 10_000_000 })).status).toBe(200);
    await until('visitors come in again', async () => ((await tcpVisitor(port, 'x')).data.length === 1 ? true : undefined));
  });
});
