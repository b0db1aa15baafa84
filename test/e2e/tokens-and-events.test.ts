import net from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { tcpVisitor, until } from './support.ts';

let stack: Stack;
let web: Target;
let tcp: Target;

beforeAll(async () => {
  stack = await startStack({ env: { CULVERT_GRACE: '5s', CULVERT_LIMIT_RECONNECTING_MS: '300' } });
  web = await startWebTarget();
  tcp = await startTcpTarget(echo);
});
afterAll(async () => {
  await stack?.stop();
  await web?.close();
  await tcp?.close();
});

describe('the operator command line', () => {
  it('adds, lists, shows and revokes, and cuts live connections at the revocation', async () => {
    const added = await stack.culvert('device', 'add', 'carol', '--json');
    const { name, token } = JSON.parse(added.stdout);
    expect(name).toBe('carol');
    const agent = await stack.runAgent({ name, token, mappings: [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${tcp.port}`] });

    const shown = JSON.parse((await stack.culvert('device', 'show', 'carol', '--json')).stdout);
    expect(shown).toMatchObject({ name: 'carol', state: 'connected', epoch: agent.ready.epoch });
    expect(shown.endpoints).toHaveLength(2);
    expect(shown.endpoints[0]).toMatchObject({ port: 80, scheme: 'http', url: agent.endpoint(80).url });
    expect(shown.endpoints[1]).toMatchObject({ port: 7, scheme: 'tcp', public_port: agent.endpoint(7).public_port });
    expect((await stack.culvert('device', 'list')).stdout).toMatch(/carol\s+connected/);

    const running = net.connect(agent.endpoint(7).public_port as number, '127.0.0.1');
    running.on('error', () => {});
    running.write('alive');
    await new Promise((resolve) => running.once('data', resolve));
    const closed = new Promise((resolve) => running.once('close', resolve));
    const revoked = await stack.culvert('device', 'revoke', 'carol', '--json');
    expect(JSON.parse(revoked.stdout)).toMatchObject({ name: 'carol', revoked: true });
    await closed;
    await agent.event('disconnected');
    const newcomer = stack.spawnAgent({ name, token, mappings: ['80'] });
    expect(await newcomer.event('refused')).toMatchObject({ status: 401 });
    await newcomer.kill();
    expect((await tcpVisitor(agent.endpoint(7).public_port as number, 'x')).data.length).toBe(0);
    await agent.kill();
  });

  it('refuses a name that is taken, and one that is none, with a message and an exit code', async () => {
    await stack.addDevice('dora');
    const again = await stack.culvert('device', 'add', 'dora');
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/exists/);
    const wrong = await stack.culvert('device', 'add', 'Dora.X');
    expect(wrong.code).not.toBe(0);
    expect(wrong.stderr).toMatch(/expected/);
  });
});

describe('tokens', () => {
  it('refuses a wrong token, an unknown name and the token of another name', async () => {
    const token = await stack.addDevice('erin');
    await stack.addDevice('frank');
    const status = async (name: string, with_: string): Promise<unknown> => {
      const agent = stack.spawnAgent({ name, token: with_, mappings: ['80'] });
      const refusal = await agent.event('refused');
      await agent.kill();
      return refusal.status;
    };
    expect(await status('erin', `${token.slice(0, -1)}_`)).toBe(401);
    expect(await status('nobody', token)).toBe(401);
    expect(await status('frank', token)).toBe(403);
  });
});

describe('events', () => {
  it('tells the whole life of a device, in order, without gaps', async () => {
    const token = await stack.addDevice('grace');
    const events = await stack.events('*.*.grace');
    const agent = await stack.runAgent({ name: 'grace', token, mappings: [`tcp:7=127.0.0.1:${tcp.port}`] });
    await tcpVisitor(agent.endpoint(7).public_port as number, 'hello');
    await agent.kill(); // no bye: lost, then reconnecting, then grace
    const back = await stack.runAgent({ name: 'grace', token, mappings: [`tcp:7=127.0.0.1:${tcp.port}`] });
    await back.stop();
    const seen: { type: string; epoch: number; seq: number; id: string }[] = [];
    await until('lease.expired', async () => {
      const event = await events.next(20_000);
      if (!event.type.startsWith('conn.'))
        seen.push({ type: event.type, epoch: event.data.epoch as number, seq: event.data.seq as number, id: event.id });
      return event.type === 'lease.expired' ? true : undefined;
    });
    const types = seen.map(({ type }) => type);
    expect(types[0]).toBe('lease.granted');
    expect(types).toContain('device.connected');
    expect(types.filter((type) => type === 'device.disconnected')).toHaveLength(2);
    expect(types).toContain('lease.resumed');
    expect(types.slice(-2)).toEqual(['lease.grace', 'lease.expired']);
    expect(new Set(seen.map(({ id }) => id)).size).toBe(seen.length);
    const inOrder = [...seen].sort((a, b) => a.epoch - b.epoch || a.seq - b.seq);
    expect(seen).toEqual(inOrder);
    await events.close();
  });

  it('does not let the integrator publish or command', async () => {
    const nats = await stack.integrator();
    const errors: string[] = [];
    void (async () => {
      for await (const status of nats.status()) if (status.type === 'error') errors.push(String(status.error));
    })();
    nats.publish('device.connected.alice', '{}');
    await until('the refusal', () => (errors.some((text) => /permission/i.test(text)) ? true : undefined));
    const overheard: string[] = [];
    nats.subscribe('*.*.*', { callback: (_error, message) => void overheard.push(message.subject) });
    nats.subscribe('_INBOX.>', { callback: (_error, message) => void overheard.push(message.subject) });
    await nats.flush();
    await stack.addDevice('henry');
    await stack.culvert('device', 'show', 'henry');
    expect(overheard.filter((subject) => /^(?:cmd\.|_INBOX)/.test(subject))).toEqual([]);
    await expect(nats.request('cmd.device.revoke', '{"device":"dora"}', { timeout: 1_000 })).rejects.toThrow();
    await nats.close();
  });
});
