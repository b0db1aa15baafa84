import { createServer, type Server } from 'node:net';
import { digestOf } from '@culvert/service-kit';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { freePort } from '../../../test/harness/servers.ts';
import { eventually, metricOf, type ServiceProcess } from '../../../test/harness/service.ts';
import { assertedOf } from '../src/asserted.ts';
import { Device } from '../src/device.ts';
import { LISTENER, TOKEN, Visitor, World } from './world.ts';

let world: World;
let listener: ServiceProcess;
const foreign: Server[] = [];

beforeAll(async () => {
  world = await World.start();
  listener = await world.startListener({ CULVERT_LIMIT_WIND_DOWN_MS: '1500' });
});
afterEach(() => {
  for (const server of foreign.splice(0)) server.close();
});
afterAll(async () => {
  await listener?.stop();
  await world?.stop();
});

async function occupy(): Promise<number> {
  const server = createServer();
  foreign.push(server);
  const port = await freePort();
  await new Promise<void>((done) => server.listen(port, '::', done));
  return port;
}
const refused = async (port: number): Promise<string | undefined> => (await new Visitor(port).reset()).code;

it('a port that a foreign process holds fails the whole bind, and names it', async () => {
  const tenure = await world.tenure('alice');
  const taken = await occupy();
  const ports = [...tenure.ports, { port: 23, scheme: 'tcp' as const, public_port: taken }];
  expect(await world.bind({ ...tenure, ports })).toMatchObject({ ok: false, code: 'unavailable', failed: [taken] });
  expect(await refused(tenure.tcp)).toBe('ECONNREFUSED');
  expect(await world.bind(tenure)).toEqual({ ok: true });
  expect(await world.bind({ ...tenure, rev: 2, ports })).toMatchObject({ ok: false, failed: [taken] });
  expect((await eventually('a connection', () => new Visitor(tenure.tcp))).error).toBeUndefined();
});

it('the highest epoch and revision wins, and commands of older ones are refused', async () => {
  const tenure = await world.bound('bob');
  const stale = { ok: false, code: 'lease_lost' };
  expect(await world.bind({ ...tenure, epoch: tenure.epoch - 1, rev: 9 })).toMatchObject(stale);
  expect(await world.bind({ ...tenure, rev: 0 })).toMatchObject(stale);
  expect(await world.bind(tenure)).toEqual({ ok: true });
  const { device, epoch } = tenure;
  expect(await world.bus.requestOf(LISTENER, 'listener.unbind', { device, epoch: epoch - 1 })).toMatchObject(stale);
  expect(await world.bus.requestOf(LISTENER, 'listener.unbind', { device, epoch })).toEqual({ ok: true });
  expect(await refused(tenure.tcp)).toBe('ECONNREFUSED');
});

it('the tenure before one that was never confirmed is bound again', async () => {
  const tenure = await world.bound('quinn', { state: 'grace' });
  const { device } = tenure;
  const epoch = world.nextEpoch();
  expect(await world.bind({ ...tenure, epoch, rev: 0, state: 'held' })).toEqual({ ok: true });
  expect(await world.bind(tenure)).toMatchObject({ ok: false, code: 'lease_lost' });
  expect(await world.bus.requestOf(LISTENER, 'listener.unbind', { device, epoch })).toEqual({ ok: true });
  expect(await world.bind(tenure)).toEqual({ ok: true });
  expect(await refused(tenure.tcp)).toBe('ECONNRESET');
});

it('a stand-in goes by itself, is nobody to be asserted, and ends without breaking off who waits', async () => {
  world.onDial = () => {};
  const stood = await world.tenure('stella');
  const names = stood.ports.filter(({ scheme }) => scheme === 'http');
  const standIn = { ...stood, ports: names, stand_in: { here: true, ms: 60_000 } };
  expect(await world.bind(standIn)).toEqual({ ok: true });
  const waiting = new Visitor(stood.http);
  waiting.socket.write('GET / HTTP/1.1\r\n\r\n');
  const dial = await eventually('the dial', () => world.dials.find(({ device }) => device === 'stella'));
  expect(await world.bind({ ...standIn, ports: [] })).toEqual({ ok: true });
  expect(await refused(stood.http)).toBe('ECONNREFUSED');
  const transfer = world.transfer(dial.path);
  transfer.onData = () => transfer.ws.send(Buffer.from('served'));
  await eventually('the answer', () => waiting.text() === 'served');
  waiting.socket.destroy();

  expect(await world.bind(standIn)).toEqual({ ok: true });
  await eventually('a connection', () => new Visitor(stood.http));
  expect(await world.bind({ ...standIn, rev: 2, stand_in: { here: true, ms: 1 } })).toEqual({ ok: true });
  await eventually('it has gone', async () => {
    const late = new Visitor(stood.http);
    await late.end(); // who was let in at the last moment gets a page
    return late.error?.code === 'ECONNREFUSED';
  });

  const device = new Device('stella', { waiting: 0 });
  device.change(standIn);
  expect(assertedOf(device, LISTENER)).toEqual([]);
  device.change({ ...stood, stand_in: { here: false, ms: 60_000 } });
  expect(assertedOf(device, LISTENER)).toHaveLength(1);
});

it('a new list of ports closes those that are missing and keeps those that are equal', async () => {
  const tenure = await world.bound('carol');
  const [tcp] = tenure.ports;
  const next = await freePort();
  const ports = [tcp, { port: 23, scheme: 'tcp' as const, public_port: next }].filter((endpoint) => endpoint !== undefined);
  expect(await world.bind({ ...tenure, rev: 2, ports })).toEqual({ ok: true });
  expect(await refused(tenure.http)).toBe('ECONNREFUSED');
  world.echo();
  for (const port of [tenure.tcp, next]) {
    const visitor = new Visitor(port);
    visitor.socket.end('x');
    await visitor.end();
    expect(visitor.text()).toBe('x');
  }
});

it('a port that went to another device is taken from the tenure that missed its unbind', async () => {
  const old = await world.bound('dave');
  const next = await world.tenure('erin');
  expect(await world.bind({ ...next, ports: old.ports })).toEqual({ ok: true });
  expect(await world.bind({ ...old, rev: 2 })).toMatchObject({ ok: false, failed: [old.tcp, old.http] });
});

it('an expired lease is unbound by its event, unless a newer tenure is bound', async () => {
  const tenure = await world.bound('frank');
  const expired = (epoch: number): void => {
    const data = { epoch, seq: 1, reason: 'grace_over', endpoints: [], listener: LISTENER };
    world.bus.nc.publish('lease.expired.frank', JSON.stringify({ type: 'lease.expired', subject: 'frank', data }));
  };
  const open = await metricOf(listener, 'culvert_public_ports_open');
  expired(tenure.epoch - 1);
  expired(tenure.epoch);
  await eventually('closed ports', async () => (await metricOf(listener, 'culvert_public_ports_open')) === open - 2);
  expect(await refused(tenure.tcp)).toBe('ECONNREFUSED');
});

it('after NATS was away the ports are again those that the store has', async () => {
  const kept = await world.bound('gina');
  const gone = await world.bound('hugo');
  const missed = await world.tenure('ines');
  const token_digest = digestOf(TOKEN);
  world.leases = [kept, missed].map((tenure) => ({ lease: world.leaseOf(tenure), token_digest, token_digests: [token_digest] }));
  await world.nats.kill();
  await eventually('the listener to notice', async () => (await fetch(`${listener.health}/readyz`)).status === 503);
  await world.nats.start();
  await eventually('the missed port', async () => (await metricOf(listener, 'culvert_public_ports_open')) === 4, 20_000);
  expect(await refused(gone.tcp)).toBe('ECONNREFUSED');
  await eventually('the bus of the test', () => world.bus.connected);
  world.echo();
  for (const port of [kept.tcp, missed.tcp]) {
    const visitor = new Visitor(port);
    visitor.socket.end('back');
    await visitor.end();
    expect(visitor.text()).toBe('back');
  }
}, 40_000);

it('a restarted listener has all its ports bound before it is ready, whatever single port is not to be had', async () => {
  const tenures = await Promise.all(['kim', 'lea', 'mona', 'nils', 'otto'].map((device) => world.tenure(device)));
  const token_digest = digestOf(TOKEN);
  world.leases = tenures.map((tenure) => ({ lease: world.leaseOf(tenure), token_digest, token_digests: [token_digest] }));
  const [first] = tenures;
  await listener.stop('SIGKILL');
  const blocked = createServer();
  foreign.push(blocked);
  await new Promise<void>((done) => blocked.listen(first?.tcp, '::', done));
  listener = await world.startListener({ CULVERT_LIMIT_WIND_DOWN_MS: '1500' });
  expect(await metricOf(listener, 'culvert_public_ports_open')).toBe(8);
  world.echo();
  const visitor = new Visitor(tenures[4]?.tcp ?? 0);
  visitor.socket.end('again');
  await visitor.end();
  expect(visitor.text()).toBe('again');
});

it('a listener that is stopped accepts nobody any more, lets visitors finish, and cuts the rest in the end', async () => {
  world.echo();
  const tenure = await world.bound('paul');
  const [quick, slow] = [new Visitor(tenure.tcp), new Visitor(tenure.tcp)];
  quick.socket.write('a');
  slow.socket.write('b');
  await eventually('both echoes', () => quick.text() === 'a' && slow.text() === 'b');
  const stopped = listener.stop();
  await eventually('closed ports', async () => {
    const probe = new Visitor(tenure.tcp);
    await eventually('its fate', () => probe.closed || probe.socket.readyState === 'open');
    probe.socket.destroy();
    return probe.error?.code === 'ECONNREFUSED';
  });
  quick.socket.end('!');
  await quick.end();
  expect(quick.text()).toBe('a!');
  expect((await slow.reset()).code).toBe('ECONNRESET');
  expect(await stopped).toBe(0);
});
