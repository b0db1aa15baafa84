import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connectEvents, type Events } from '@culvert/events';
import { jetstreamManager } from '@nats-io/jetstream';
import { request } from 'undici';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { until } from '../e2e/support.ts';
import { registerDevices } from '../harness/registration.ts';
import { type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';

const DAY_NS = 86_400_000_000_000;
const FLEET = 100;
const ROUNDS = 6;

let stack: Stack;
let events: Events;
let targets: Target[];

beforeAll(async () => {
  targets = await Promise.all([startWebTarget(), startTcpTarget(echo)]);
  stack = await startStack({ env: { CULVERT_GRACE: '1h' }, tcpPorts: FLEET + 100 });
  events = await connectEvents(stack.info.nats);
});
afterAll(async () => {
  await events?.close();
  await stack?.stop();
  for (const target of targets ?? []) await target.close();
});

it('a killed admin disturbs no device: transfers that run go on, new visitors are served, no control connection is lost', async () => {
  const [web, tcp] = targets.map(({ port }) => port);
  const agent = await stack.runAgent({
    ...{ name: 'alice', token: await stack.addDevice('alice') },
    mappings: [`80=127.0.0.1:${web}`, `tcp:7=127.0.0.1:${tcp}`],
  });
  const { epoch } = agent.ready;
  const visitor = net.connect(agent.endpoint(7).public_port as number, '127.0.0.1');
  let echoed = 0;
  let broken: string | undefined;
  visitor.on('data', (chunk) => {
    echoed += chunk.length;
  });
  visitor.on('error', ({ message }) => {
    broken = message;
  });
  visitor.on('close', () => {
    broken ??= 'closed';
  });
  const beat = setInterval(() => visitor.write(Buffer.alloc(16_384)), 20);
  await until('a running transfer', () => (echoed > 100_000 ? true : undefined));
  const { pid } = stack.info.services.find(({ id }) => id === 'admin-1') ?? { pid: 0 };
  process.kill(pid, 'SIGKILL');
  const { host } = new URL(agent.endpoint(80).url as string);
  let gone = 0;
  await until(
    'admin is away and comes back',
    async () => {
      const before = echoed;
      const page = await request(stack.info.edge, { headers: { host } });
      await page.body.dump();
      expect(page.statusCode).toBe(200);
      await until('more bytes of the transfer', () => (echoed > before || broken !== undefined ? true : undefined));
      const asked = await stack.admin('GET', '/v1/login').catch(() => undefined);
      if (asked === undefined) gone += 1;
      return gone > 0 && asked?.status === 200 ? true : undefined;
    },
    60_000,
  );
  clearInterval(beat);
  expect(broken).toBeUndefined();
  visitor.destroy();
  expect([agent.readyCount(), agent.ready.epoch]).toEqual([1, epoch]);
  expect(agent.events.filter(({ event }) => event === 'disconnected' || event === 'refused')).toEqual([]);
  await agent.stop();
}, 120_000);

it('a consumer that is away while thousands of events pass gets every one of them, each once and in the order of each device', async () => {
  const names = Array.from({ length: FLEET }, (_, at) => `fleet-${at}`);
  const tokens = await registerDevices(stack.info, names);
  const ledger: string[] = [];
  const last = new Map<string, [epoch: number, seq: number]>();
  const follow = async (enough: () => boolean, signal: AbortSignal): Promise<void> => {
    for await (const event of events.consume({ durable: 'ledger', types: ['device.*', 'lease.*'], signal })) {
      if (event.id === ledger.at(-1)) continue; // in the midst of which it left: it was not acknowledged
      const { epoch, seq } = event.data as { epoch: number; seq: number };
      const [formerEpoch, formerSeq] = last.get(event.subject) ?? [0, 0];
      expect(epoch > formerEpoch || (epoch === formerEpoch && seq > formerSeq), `${event.type} ${event.id}`).toBe(true);
      last.set(event.subject, [epoch, seq]);
      ledger.push(event.id);
      if (enough()) break;
    }
  };
  await comeAndGo(names.slice(0, 5), tokens);
  await follow(() => ledger.length >= 8, AbortSignal.timeout(60_000)); // leaves in the midst of it
  const before = ledger.length;
  for (let round = 0; round < ROUNDS; round += 1) await comeAndGo(names, tokens);

  const kept = async (): Promise<string[]> => {
    const all = await Promise.all(['device', 'lease'].map((family) => stack.storedEvents('CULVERT_EVENTS', `${family}.*.*`)));
    return all.flat().map(({ id }) => id);
  };
  const all = await until(
    'every event in the stream',
    async () => {
      const ids = await kept();
      return ids.length >= FLEET * ROUNDS * 4 ? ids : undefined;
    },
    120_000,
  );
  expect(all.length - before).toBeGreaterThan(2_000);
  await follow(() => ledger.length >= all.length, AbortSignal.timeout(240_000));
  expect(new Set(ledger).size).toBe(ledger.length);
  expect([...ledger].sort()).toEqual([...new Set(await kept())].sort());

  const { streams, consumers } = await jetstreamManager(events.nc);
  const { config, state } = await streams.info('CULVERT_EVENTS');
  expect(config).toMatchObject({ retention: 'limits', storage: 'file', max_age: 7 * DAY_NS, max_msgs: -1, max_bytes: -1 });
  expect(state.first_seq).toBe(1); // nothing has been pushed out
  // Nor does the server forget a consumer that is away.
  expect((await consumers.info('CULVERT_EVENTS', 'ledger')).config.inactive_threshold ?? 0).toBe(0);
}, 500_000);

/** Each device connects and leaves again. */
async function comeAndGo(names: readonly string[], tokens: readonly string[]): Promise<void> {
  const waiting = names.entries();
  const lane = async (): Promise<void> => {
    for (const [at, name] of waiting) await connectOnce(name, tokens[at] ?? '');
  };
  await Promise.all(Array.from({ length: 16 }, lane));
}

async function connectOnce(name: string, token: string): Promise<void> {
  const url = `${stack.info.edge.replace('http', 'ws')}/v1/control?name=${name}&ports=tcp:22`;
  for (let tries = 0; ; tries += 1) {
    const socket = new WebSocket(url, 'culvert.v1', { headers: { authorization: `Bearer ${token}` } });
    const ready = await new Promise<boolean>((resolve) => {
      socket.on('message', (data: Buffer) => {
        if ((JSON.parse(data.toString()) as { type: string }).type === 'ready') resolve(true);
      });
      socket.on('error', () => resolve(false));
    });
    if (ready) {
      socket.close(1000);
      await new Promise((gone) => socket.once('close', gone));
      return;
    }
    if (tries >= 60) throw new Error(`${name} does not get in`);
    await delay(500); // busy, or its former connection is not given up yet
  }
}
