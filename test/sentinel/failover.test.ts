import { afterEach, describe, expect, it } from 'vitest';
import { tcpVisitor } from '../e2e/support.ts';
import { eventually } from '../harness/service.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { statusOfHandshake } from '../survival/handshake.ts';
import { World } from './world.ts';

/** Each fault costs half a minute: the sentinels take their time to turn a former primary into a replica. */
const LONG = process.env.CULVERT_TEST_LONG === '1';
const FAULTS = LONG ? (['killed', 'frozen'] as const) : (['killed'] as const);

let world: World | undefined;
let targets: Target[] = [];

afterEach(async () => {
  await world?.stop();
  for (const target of targets) await target.close();
  world = undefined;
  targets = [];
});

async function start(replicas: number): Promise<{ world: World; mappings: string[] }> {
  const web = await startWebTarget();
  const tcp = await startTcpTarget(echo);
  targets = [web, tcp];
  world = await World.start(replicas);
  return { world, mappings: [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${tcp.port}`] };
}

const hostOf = (url: string | undefined): string => new URL(url ?? '').hostname;

/** Every epoch's events are numbered without a gap, none comes twice, and epochs never go down. */
function expectWhole(events: { id: string; data: { epoch: number; seq: number } }[]): void {
  expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
  let last = { epoch: 0, seq: 0 };
  for (const { data } of events) {
    expect(data.epoch).toBeGreaterThanOrEqual(last.epoch);
    if (data.epoch === last.epoch) expect(data.seq).toBe(last.seq + 1);
    last = data;
  }
}

describe('Redis behind sentinels', () => {
  it(`goes on with the next primary when the present one is ${FAULTS.join(', and ')}`, async () => {
    const { world, mappings } = await start(2);
    const token = await world.addDevice('steady');
    const steady = await world.runAgent('steady', token, mappings);
    const before = steady.endpoints();
    const host = hostOf(steady.endpoint(80).url);
    const echoed = async (text: string): Promise<string> =>
      (await tcpVisitor(steady.endpoint(7).public_port as number, text)).data.toString();
    expect([await world.status(host), await echoed('hi')]).toEqual(['200', 'hi']);

    for (const fault of FAULTS) {
      const lateToken = await world.addDevice(`late-${fault}`);
      const former = await world.store.primary();
      const at = performance.now();
      if (fault === 'killed') await former.kill();
      else former.signal('SIGSTOP');
      const late = world.spawnAgent(`late-${fault}`, lateToken, ['tcp:7=127.0.0.1:9']);
      expect([await world.status(host), await echoed('meanwhile')]).toEqual(['200', 'meanwhile']);
      await world.store.failedOver(former);
      const failover = Math.round(performance.now() - at);
      await late.event('ready', 40_000);
      const ready = Math.round(performance.now() - at);
      console.log(`primary ${fault}: another one after ${failover} ms, a new device connected after ${ready} ms`);
      expect([await world.status(host), await echoed('after')]).toEqual(['200', 'after']);
      expect(steady.readyCount()).toBe(1);
      await late.stop();

      if (!LONG) break;
      // The former primary returns as a replica, and nobody goes on talking to it.
      if (fault === 'killed') await former.start();
      else former.signal('SIGCONT');
      await eventually('the former primary follows', async () => (await former.ask('ROLE')).startsWith('slave'), 20_000);
    }

    await steady.kill();
    const again = await world.runAgent('steady', token, mappings);
    expect(again.ready.resumed).toBe(true);
    expect(again.endpoints()).toEqual(before);
    const events = await eventually('its events', async () => {
      const found = await world.eventsOf('steady');
      return found.some(({ type }) => type === 'lease.resumed') && found;
    });
    expectWhole(events as never);
    for (const fault of FAULTS) {
      const types = await eventually(`all events of late-${fault}`, async () => {
        const found = await world.eventsOf(`late-${fault}`);
        return found.length >= 4 && found.map(({ type }) => type);
      });
      expect(types).toEqual(['lease.granted', 'device.connected', 'device.disconnected', 'lease.grace']);
    }
    expect(await world.eventsOf(events[0]?.id.split(':')[0] ?? '')).toEqual([]); // nothing was lost, nothing announced
    // The edge has followed too: it hears of a name that is new.
    expect(await world.status(hostOf(again.endpoint(80).url))).toBe('200');
  }, 120_000);

  it('announces acknowledged writes that the next primary lacks, and no number or id of an event comes twice', async () => {
    const { world, mappings } = await start(2);
    const token = await world.addDevice('steady');
    const out = await world.addDevice('out');
    const steady = await world.runAgent('steady', token, mappings);
    const before = steady.endpoints();
    const primary = await world.store.primary();
    const replicas = world.store.members.filter((member) => member !== primary);
    // Acknowledged by the primary alone, sent to whoever follows, and gone with it: replicas that hang lose what they had not read.
    await primary.ask('CONFIG', 'SET', 'min-replicas-max-lag', '60');
    for (const replica of replicas) replica.signal('SIGSTOP');
    expect(await world.bus.request('device.revoke', { device: 'out' })).toMatchObject({ ok: true });
    await steady.stop();
    const types = ['lease.granted', 'device.connected', 'device.disconnected', 'lease.grace'];
    await eventually('what will be lost was sent', async () => (await world.eventsOf('steady')).length === types.length);
    await primary.kill();
    for (const replica of replicas) await replica.kill();
    for (const replica of replicas) await replica.start();
    const now = await world.store.failedOver(primary, 60_000);
    expect(await now.ask('HGET', 'lease:steady', 'state')).toBe('held'); // it does not know better
    await eventually('a replica follows', async () => (await now.ask('ROLE')).split('\n').length > 3, 60_000);

    const again = world.spawnAgent('steady', token, mappings);
    await again.event('ready', 40_000);
    expect(again.endpoints()).toEqual(before);
    const events = await eventually('its events', async () => {
      const found = await world.eventsOf('steady');
      return found.at(-1)?.type === 'device.connected' && found.length >= types.length + 3 && found;
    });
    // A second change of connection may follow the first.
    const answer = await eventually('an answer to the revoked device', async () => {
      const status = await statusOfHandshake(world.edge, 'out', out);
      return status !== '503' && status;
    });
    expect(answer).toBe('401');
    // That nobody holds the lease may be noticed before the device is back: then it is in grace meanwhile.
    const since = events.map(({ type }) => type).slice(types.length);
    expect(since.filter((type) => type !== 'lease.grace')).toEqual(['device.disconnected', 'lease.resumed', 'device.connected']);
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
    const places = events.map(({ data }) => data as { epoch: number; seq: number });
    for (const [at, { epoch, seq }] of places.entries()) {
      const former = places[at - 1] ?? { epoch: 0, seq: 0 };
      expect(epoch > former.epoch || (epoch === former.epoch && seq > former.seq), `${at}: ${epoch}/${seq}`).toBe(true);
    }
    const incarnation = await now.ask('GET', 'store:incarnation');
    expect((await world.eventsOf(incarnation)).map(({ type, data }) => [type, (data as { reason?: string }).reason])).toEqual([
      ['store.recovered', 'writes_lost'],
    ]);
  }, 150_000);

  it.runIf(LONG)(
    'refuses new devices, and nothing else, while the only replica has become a primary without one',
    async () => {
      const { world, mappings } = await start(1);
      const steady = await world.runAgent('steady', await world.addDevice('steady'), mappings);
      const host = hostOf(steady.endpoint(80).url);
      expect(await world.status(host)).toBe('200');
      const lateToken = await world.addDevice('late');
      const former = await world.store.primary();
      await former.kill();
      const now = await world.store.failedOver(former);
      const late = world.spawnAgent('late', lateToken, ['tcp:7=127.0.0.1:9']);
      const refused = await late.event('refused', 20_000);
      // Nothing can be written, not even that this server is the primary now.
      expect(refused).toMatchObject({ code: expect.stringMatching(/^(?:unavailable|recovering)$/), status: 503 });
      expect(await now.ask('EXISTS', 'lease:late')).toBe('0');
      expect(await world.status(host)).toBe('200');
      expect((await tcpVisitor(steady.endpoint(7).public_port as number, 'hi')).data.toString()).toBe('hi');

      await former.start();
      await late.event('ready', 40_000);
      expect(steady.readyCount()).toBe(1);
      expect((await world.eventsOf('late')).map(({ type }) => type)).toEqual(['lease.granted', 'device.connected']);
    },
    90_000,
  );
});
