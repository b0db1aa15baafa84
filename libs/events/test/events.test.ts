import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { DEVICES_BUCKET } from '@culvert/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Stack, until } from '../../../services/lease-manager/test/stack.ts';
import { connectEvents, type DeviceState, type DeviceUpdate, type Events } from '../src/index.ts';

let stack: Stack;
let events: Events;
let manager: Awaited<ReturnType<Stack['service']>>;

beforeAll(async () => {
  stack = await Stack.start({ GRACE_MS: 60_000, SWEEP_MS: 50, RECONNECTING_MS: 200, PROBE_MS: 300, RECOVERY_MS: 500 });
  await stack.listener('tcp-listener-1', [30_000, 30_999]);
  await stack.ingress('ws-ingress-1');
  await stack.service('port-allocator');
  manager = await stack.service('lease-manager');
  events = await connectEvents(stack.natsServer.url);
});
afterAll(async () => {
  await events?.close();
  await stack?.stop();
});

async function connect(device: string): Promise<number> {
  await stack.addDevice(device);
  return (await stack.granted(device)).epoch;
}

async function leave(device: string, epoch: number): Promise<void> {
  await stack.bus.request('lease.release', { device, epoch, control: 'c1', reason: 'bye' });
}

/** What a consumer process printed, line by line. */
function consumer(durable: string, dieAt = 0): { lines: string[]; child: ChildProcess; ended: Promise<unknown> } {
  const entry = fileURLToPath(new URL('./consumer-process.ts', import.meta.url));
  const child = spawn(process.execPath, [entry, stack.natsServer.url, durable, String(dieAt)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  let rest = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
  });
  return { lines, child, ended: new Promise((done) => child.once('exit', done)) };
}

describe('a durable consumer', () => {
  it('that is killed in the middle of an event, and away for others, misses none and keeps the order', async () => {
    const first = consumer('ledger', 3);
    const epoch = await connect('alice');
    await leave('alice', epoch);
    await first.ended;
    expect(first.lines).toHaveLength(2);
    for (let i = 0; i < 20; i++) await leave(`away-${i}`, await connect(`away-${i}`));
    await stack.eventsOf('away-19', 4);
    const second = consumer('ledger');
    const all = (await stack.events())
      .filter(({ type }) => /^(?:device|lease)\./.test(type))
      .map(({ id, type }) => `${id} ${type}`);
    await until(() => second.lines.length >= all.length - 2);
    expect([...first.lines, ...second.lines]).toEqual(all);
    second.child.kill('SIGKILL');
    await second.ended;
  }, 60_000);

  it('gets each event once though the stream has it twice', async () => {
    await connect('twice');
    await stack.eventsOf('twice', 1); // the answer may come before the relay has brought its event to the stream
    const [one] = (await stack.events()).filter(({ subject }) => subject === 'twice');
    await stack.bus.nc.request(`${one?.type}.twice`, JSON.stringify(one)); // without its Nats-Msg-Id the server cannot tell
    const epoch = await stack.granted('twice', { boot: 'later', control: 'c2' }).then(
      (granted) => granted.epoch,
      () => 0,
    );
    expect(epoch).toBe(0); // the holder lives: refused, and that is an event after the duplicate
    const ids: string[] = [];
    for await (const event of events.consume({ durable: 'once', device: 'twice' })) {
      ids.push(event.id);
      if (event.type === 'device.refused') break;
    }
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toHaveLength(3);
  });

  it('that asks for what there is not is told what there is', async () => {
    await expect(events.consume({ types: ['device.nowhere' as never] }).next()).rejects.toThrow('there is no "device.nowhere"');
    await expect(events.consume({ types: ['conn.closed', 'lease.grace'] }).next()).rejects.toThrow('apart from the others');
    await expect(events.consume({ durable: 'a.b' }).next()).rejects.toThrow('expected 1 to 64 letters');
    await expect(events.consume({ durable: 'once', device: 'alice' }).next()).rejects.toThrow('expected another name');
  });
});

describe('the snapshot of devices', () => {
  const end = new AbortController();
  afterAll(() => end.abort());

  /** Follows the devices; the map is what somebody who applies the updates has. */
  function follow(): { devices: Map<string, DeviceState>; snapshots: number } {
    const view = { devices: new Map<string, DeviceState>(), snapshots: 0 };
    const take = (update: DeviceUpdate): void => {
      if (update.kind === 'snapshot') {
        view.snapshots += 1;
        view.devices = new Map(update.devices);
      } else view.devices.set(update.device.device, update.device);
    };
    void (async () => {
      for await (const update of events.watchDevices({ signal: end.signal })) take(update);
    })();
    return view;
  }
  const stateOf = (view: ReturnType<typeof follow>, device: string): string | undefined => view.devices.get(device)?.state;

  it('is followed by every change after it', async () => {
    const epoch = await connect('bob');
    const view = follow();
    await until(() => stateOf(view, 'bob') === 'held');
    expect(view.devices.get('bob')).toMatchObject({
      epoch,
      ingress: 'ws-ingress-1',
      listener: 'tcp-listener-1',
      remote: '192.0.2.1',
    });
    expect(view.devices.get('bob')?.endpoints).toHaveLength(2);
    expect(stateOf(view, 'alice')).toBe('grace');
    await leave('bob', epoch);
    await until(() => stateOf(view, 'bob') === 'grace');
    expect(view.devices.get('bob')?.due).toBeGreaterThan(Date.now());
    await stack.bus.request('device.revoke', { device: 'bob' });
    await until(() => stateOf(view, 'bob') === 'offline');
    const [last] = (await stack.events()).filter(({ subject }) => subject === 'bob').slice(-1);
    expect(view.devices.get('bob')).toMatchObject({ seq: last?.data.seq, endpoints: [], reason: 'revoked' });
  }, 30_000);

  it('is made anew when its bucket is lost, and when the stream has forgotten what it lacks', async () => {
    await connect('carol');
    await stack.eventsOf('carol', 2);
    await manager.stop();
    await stack.bus.nc.request(`$JS.API.STREAM.DELETE.KV_${DEVICES_BUCKET}`);
    await stack.bus.nc.request('$JS.API.STREAM.PURGE.CULVERT_EVENTS');
    manager = await stack.service('lease-manager');
    const view = follow();
    await until(() => stateOf(view, 'carol') === 'held');
    expect(stateOf(view, 'alice')).toBe('grace');
    expect(stateOf(view, 'bob')).toBeUndefined();
  }, 30_000);

  it('is read again after the store was lost: what did not come back is offline', async () => {
    const view = follow();
    await until(() => stateOf(view, 'carol') === 'held');
    await stack.redis.flushall();
    await until(() => view.snapshots === 2, 20_000);
    expect(stateOf(view, 'carol')).toBe('offline');
  }, 40_000);
});
