import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, metricOf, type ServiceProcess } from '../../../test/harness/service.ts';
import { ask, GOOD_HEADERS, INGRESS, RawDevice, World } from './world.ts';

let world: World;
let ingress: ServiceProcess;
let at: { host: string; port: number };
let serial = 0;

beforeAll(async () => {
  world = await World.start();
  ingress = await world.startIngress({
    CULVERT_HEARTBEAT: '1s',
    CULVERT_LIMIT_PROBE_MS: '500',
    CULVERT_LIMIT_CLOSE_MS: '300',
    CULVERT_LIMIT_CONTROL_MESSAGES_PER_SECOND: '50',
    CULVERT_LIMIT_CONTROL_BUFFER_BYTES: '4096',
  });
  at = await world.addressOf();
});
afterAll(async () => {
  await ingress?.stop();
  await world?.stop();
});

/** A device that is ready, under a name of its own. */
async function ready(query = 'ports=80,tcp:22'): Promise<{ name: string; device: RawDevice; epoch: number }> {
  serial += 1;
  const name = `dev-${serial}`;
  const device = new RawDevice(at, `name=${name}&${query}`);
  const { epoch } = await device.message('ready');
  return { name, device, epoch: epoch as number };
}
const releaseOf = (name: string) =>
  eventually(`the release of ${name}`, () => world.released.find(({ device }) => device === name));
const dialOf = (device: string, epoch: number, id: string) => ({
  ...{
    device,
    epoch,
    id,
    port: 22,
    path: `/v1/transfer/tcp-listener-1/${id}`,
    visitor: '192.0.2.1:5555',
    listener: 'tcp-listener-1',
  },
});

describe('a control connection', () => {
  it('tells every endpoint and then that it is ready', async () => {
    const { name, device, epoch } = await ready('ports=80,https:8443,tcp:22');
    expect(device.messages).toEqual([
      { type: 'endpoint', port: 80, url: `http://${name}-x7k2.culvert.localhost:8080` },
      { type: 'endpoint', port: 8443, url: `http://${name}-x7k2.culvert.localhost:8080` },
      { type: 'endpoint', port: 22, host: 'culvert.localhost', public_port: 20_002 },
      { type: 'ready', epoch, heartbeat_ms: 1000, grace_ms: 60_000, resumed: false },
    ]);
    expect(device.ws.protocol).toBe('culvert.v1');
    device.ws.close(1000);
    expect(await releaseOf(name)).toMatchObject({ epoch, reason: 'closed', control: world.leases.get(name)?.control });
  });

  it('hands a dial to the device, and its refusal to the listener that asked, once', async () => {
    const { name, device, epoch } = await ready();
    expect(await world.bus.requestOf(INGRESS, 'ingress.dial', dialOf(name, epoch, 'dial-1'))).toEqual({ ok: true });
    expect(await device.message('dial')).toEqual({
      ...{ type: 'dial', id: 'dial-1', port: 22, path: '/v1/transfer/tcp-listener-1/dial-1', visitor: '192.0.2.1:5555' },
    });
    device.send({ type: 'refused', id: 'unknown', code: 'busy' });
    device.send({ type: 'refused', id: 'dial-1', code: 'local_refused' });
    device.send({ type: 'refused', id: 'dial-1', code: 'busy' });
    device.send({ type: 'bye', code: 'bye', message: '' });
    await releaseOf(name);
    await eventually('the refusal', () => world.refused.some(({ id }) => id === 'dial-1'));
    expect(world.refused.filter(({ device: of }) => of === name)).toEqual([
      { device: name, epoch, id: 'dial-1', code: 'local_refused' },
    ]);
  });

  it('refuses dials of any other epoch and of unknown devices', async () => {
    const { name, device, epoch } = await ready();
    for (const [of, when] of [[name, epoch - 1] as const, [name, epoch + 1] as const, ['nobody', epoch] as const]) {
      expect(await world.bus.requestOf(INGRESS, 'ingress.dial', dialOf(of, when, 'x'))).toMatchObject({
        ok: false,
        code: 'lease_lost',
      });
    }
    expect(
      await world.bus.requestOf(INGRESS, 'ingress.close', { device: name, epoch: epoch - 1, code: 'revoked', message: '' }),
    ).toEqual({
      ok: true,
      closed: false,
    });
    expect(device.closed).toBeUndefined();
    device.ws.close(1000);
  });

  it('holds a dial back that overtakes the answer to its acquire', async () => {
    const original = world.onAcquire;
    let dialled: Promise<unknown> = Promise.resolve();
    world.onAcquire = async (request) => {
      const reply = world.grant(request);
      if (reply.ok) dialled = world.bus.requestOf(INGRESS, 'ingress.dial', dialOf(request.device, reply.epoch, 'early'));
      await world.bus.nc.flush();
      return reply;
    };
    const { device } = await ready();
    world.onAcquire = original;
    expect(await dialled).toEqual({ ok: true });
    expect(await device.message('dial')).toMatchObject({ id: 'early' });
    device.ws.close(1000);
  });

  it.each([
    ['text that is not JSON', 'hello', 4400],
    ['an array', '[]', 4400],
    ['a nested object', '{"type":"refused","id":{}}', 4400],
    ['a refusal with an unknown code', '{"type":"refused","id":"a","code":"tired"}', 4400],
    ['a binary message', Buffer.from('abc'), 4400],
    ['a message of 1 MiB', 'x'.repeat(1024 * 1024), 1009],
  ])('that brings %s is closed, and nothing else is disturbed', async (_what, data, code) => {
    const other = await ready();
    const { name, device } = await ready();
    device.ws.send(data);
    expect((await device.end()).code).toBe(code);
    expect(await releaseOf(name)).toMatchObject({ reason: 'protocol_error' });
    expect(await world.bus.requestOf(INGRESS, 'ingress.probe', { device: other.name, epoch: other.epoch })).toEqual({
      ok: true,
      alive: true,
      here: true,
    });
    other.device.ws.close(1000);
  });

  it('ignores messages of unknown types', async () => {
    const { name, device, epoch } = await ready();
    device.send({ type: 'weather', id: 'sunny' });
    expect(await world.bus.requestOf(INGRESS, 'ingress.probe', { device: name, epoch })).toEqual({
      ok: true,
      alive: true,
      here: true,
    });
    device.ws.close(1000);
  });

  it('that sends too many messages a second is closed', async () => {
    const { device } = await ready();
    for (let count = 0; count < 120; count += 1) device.send({ type: 'weather' });
    expect((await device.end()).code).toBe(4429);
  });

  it('is cut when the device reads nothing and its messages pile up', async () => {
    const { name, device, epoch } = await ready();
    device.ws.pause();
    const host = `${'x'.repeat(60)}.${'y'.repeat(60)}.culvert.localhost`;
    const endpoints = Array.from({ length: 32 }, (_, port) => ({
      port: port + 1,
      scheme: 'http' as const,
      host,
      public_port: 1,
    }));
    await eventually('a full buffer', async () => {
      const burst = Array.from({ length: 200 }, () =>
        world.bus.requestOf(INGRESS, 'ingress.endpoints', { device: name, epoch, listener: 'tcp-listener-1', endpoints }),
      );
      return (await Promise.all(burst)).some((reply) => !reply.ok);
    });
    expect(await releaseOf(name)).toMatchObject({ reason: 'connection_broken' });
    device.ws.terminate();
  });

  it('that breaks without a close frame is released as broken', async () => {
    const { name, device } = await ready();
    device.ws.terminate();
    expect(await releaseOf(name)).toMatchObject({ reason: 'connection_broken' });
  });

  it('that says bye is released as bye', async () => {
    const { name, device } = await ready();
    device.send({ type: 'bye', code: 'bye', message: 'going home' });
    expect((await device.end()).code).toBe(1000);
    expect(await releaseOf(name)).toMatchObject({ reason: 'bye' });
  });

  it('is released again and again until the lease-manager hears it', async () => {
    let deaf = 2;
    world.onRelease = () => {
      deaf -= 1;
      return deaf >= 0 ? { ok: false, code: 'recovering', message: 'not yet' } : { ok: true, state: 'grace' };
    };
    const { name, device } = await ready();
    device.ws.close(1001);
    await eventually('the third try', () => world.released.filter(({ device: of }) => of === name).length === 3);
    await eventually('none waiting', async () => (await metricOf(ingress, 'culvert_releases_waiting')) === 0);
    world.onRelease = () => ({ ok: false, code: 'lease_lost', message: 'stale' });
    const stale = await ready();
    stale.device.ws.close(1000);
    await releaseOf(stale.name);
    await eventually('none waiting', async () => (await metricOf(ingress, 'culvert_releases_waiting')) === 0);
    world.onRelease = () => ({ ok: true, state: 'grace' });
  });

  it('of a frozen device is called dead after 2.5 heartbeats, a probe says so before, and an idle one lives on', async () => {
    const idle = await ready();
    const { name, device, epoch } = await ready();
    device.ws.pause();
    expect(await world.bus.requestOf(INGRESS, 'ingress.probe', { device: name, epoch })).toEqual({
      ok: true,
      alive: false,
      here: true,
    });
    expect(await releaseOf(name)).toMatchObject({ reason: 'heartbeat_lost', epoch });
    expect(await metricOf(ingress, 'culvert_heartbeat_losses_total')).toBeGreaterThan(0);
    device.ws.resume();
    expect((await device.end()).code).toSatisfy((code: number) => code === 4414 || code === 1006);
    expect(await world.bus.requestOf(INGRESS, 'ingress.probe', { device: idle.name, epoch: idle.epoch })).toMatchObject({
      alive: true,
      here: true,
    });
    expect(idle.device.closed).toBeUndefined();
    idle.device.ws.close(1000);
  });

  it.each([
    ['moved', 4410],
    ['superseded', 4411],
    ['revoked', 4413],
  ])('is closed as %s on command, without a release', async (code, close) => {
    const { name, device, epoch } = await ready();
    const reply = await world.bus.requestOf(INGRESS, 'ingress.close', { device: name, epoch, code, message: 'told to' });
    expect(reply).toEqual({ ok: true, closed: true });
    expect(await device.message('bye')).toEqual({ type: 'bye', code, message: 'told to' });
    expect((await device.end()).code).toBe(close);
    const further = await ready(); // a whole further life later
    further.device.ws.close(1000);
    expect(world.released.some(({ device: of }) => of === name)).toBe(false);
  });

  it('gives way to a newer tenure of its name', async () => {
    const { name, device } = await ready('ports=80&boot=0123456789abcdef');
    const newer = new RawDevice(at, `name=${name}&ports=80&boot=0123456789abcdef`);
    await newer.message('ready');
    expect((await device.end()).code).toBe(4410);
    expect(newer.closed).toBeUndefined();
    newer.ws.close(1000);
  });

  it('is told when an endpoint moves', async () => {
    const { name, device, epoch } = await ready('ports=tcp:22');
    const endpoints = [{ port: 22, scheme: 'tcp' as const, public_port: 20_900 }];
    const moved = { device: name, epoch, listener: 'tcp-listener-2', endpoints };
    expect(await world.bus.requestOf(INGRESS, 'ingress.endpoints', moved)).toEqual({ ok: true });
    await eventually('the new endpoint', () => device.messages.some(({ public_port }) => public_port === 20_900));
    device.ws.close(1000);
  });

  it('that the store no longer knows is closed after NATS was away', async () => {
    const kept = await ready();
    const lost = await ready();
    world.leases.set(lost.name, { epoch: lost.epoch + 1, control: 'another' });
    await world.nats.kill();
    await eventually('the ingress to notice', async () => (await fetch(`${ingress.health}/readyz`)).status === 503);
    const refused = await ask(at, '/v1/control?name=alice&ports=80', GOOD_HEADERS);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('2');
    expect(kept.device.closed).toBeUndefined();
    await world.nats.start();
    expect((await eventually('the close', () => lost.device.closed, 20_000)).code).toBe(4412);
    expect(kept.device.closed).toBeUndefined();
    kept.device.ws.close(1000);
  });

  it('leaves no socket behind', async () => {
    await eventually('no connection', async () => (await metricOf(ingress, 'culvert_control_connections')) === 0);
    await eventually('no socket', async () => (await metricOf(ingress, 'culvert_control_sockets')) === 0);
    await eventually('no handshake', async () => (await metricOf(ingress, 'culvert_handshakes_pending')) === 0);
  });
});
