import { randomBytes } from 'node:crypto';
import { digestOf } from '@culvert/service-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventually, metricOf, type ServiceProcess } from '../../../test/harness/service.ts';
import { type DeviceTransfer, LISTENER, World } from './world.ts';

const TICKET_MS = 1_500;
let world: World;
let listener: ServiceProcess;
/** Digests of tokens that have rights. */
const allowed = new Set<string>();

const OPERATOR = { name: 'carol', token_digest: digestOf('the token of carol'), login: '' };

beforeAll(async () => {
  world = await World.start();
  await world.bus.serve('0.1.0', {
    'operator.check': ({ token_digest }) =>
      allowed.has(token_digest) ? { ok: true } : { ok: false, code: 'unauthorized', message: 'removed' },
  });
  listener = await world.startListener({
    CULVERT_LIMIT_ACCESS_TICKET_MS: String(TICKET_MS),
    CULVERT_LIMIT_ACCESS_TICKETS: '3',
    CULVERT_LIMIT_DIAL_MS: '1000',
    CULVERT_LIMIT_RECHECK_MS: '60000',
  });
});
afterAll(async () => {
  await listener?.stop();
  await world?.stop();
});
afterEach(() => {
  world.onDial = () => {};
  allowed.clear();
});

type Bound = Awaited<ReturnType<World['bound']>>;

async function admit({ device, epoch }: Bound, port = 22, undeclared = false): Promise<{ path: string; key: string }> {
  allowed.add(OPERATOR.token_digest);
  const key = randomBytes(32).toString('base64url');
  const wanted = { device, epoch, port, undeclared, operator: OPERATOR, key_digest: digestOf(key) };
  const reply = await world.bus.requestOf(LISTENER, 'listener.admit', wanted);
  if (!reply.ok) throw new Error(reply.code);
  return { path: `/v1/access/${LISTENER}/${reply.ticket}`, key };
}
const connect = ({ path, key }: { path: string; key: string }): DeviceTransfer => world.transfer(path, key);

describe('an operator with a ticket', () => {
  it('is a visitor of the device, half-close included', async () => {
    world.echo();
    const device = await world.bound('op-echo');
    const operator = connect(await admit(device));
    expect(await operator.answered()).toBe(101);
    operator.ws.send(Buffer.from('past the public port'));
    operator.ws.send(Buffer.alloc(0));
    await eventually('END', () => (operator.ended ? true : undefined));
    expect(operator.text()).toBe('past the public port');
    expect(await eventually('the close', () => operator.closed)).toMatchObject({ code: 1000 });
    expect(world.dials.at(-1)).toMatchObject({ device: 'op-echo', port: 22, visitor: 'operator:carol' });
  });

  it('comes in past the addresses that may visit the port', async () => {
    world.echo();
    const device = await world.bound('op-listed', { policy: { allow: [{ port: 22, from: ['192.0.2.0/24'] }] } });
    const operator = connect(await admit(device));
    expect(await operator.answered()).toBe(101);
    operator.ws.terminate();
  });

  it('gets an http endpoint as it is, with nothing said on behalf of the device', async () => {
    world.echo();
    const device = await world.bound('op-http');
    const operator = connect(await admit(device, 80));
    expect(await operator.answered()).toBe(101);
    operator.ws.send(Buffer.from('GET / HTTP/1.1'));
    await eventually('the echo', () => (operator.text() === 'GET / HTTP/1.1' ? true : undefined));
    operator.ws.terminate();
  });

  it('is told before the 101 why the device does not serve it', async () => {
    const device = await world.bound('op-refused');
    world.onDial = ({ device: name, epoch, id }) =>
      void world.bus.requestOf(LISTENER, 'listener.refused', { device: name, epoch, id, code: 'local_refused' });
    expect(await connect(await admit(device)).answered()).toBe(502);
    world.onDial = () => {};
    expect(await connect(await admit(device)).answered()).toBe(504);
    await world.bus.requestOf(LISTENER, 'listener.unbind', { device: 'op-refused', epoch: device.epoch });
    await expect(admit(device)).rejects.toThrow('device_offline');
  });

  it('reaches a port that is not declared only where that was decided', async () => {
    world.echo();
    const device = await world.bound('op-more');
    await expect(admit(device, 5900)).rejects.toThrow('not_allowed');
    const operator = connect(await admit(device, 5900, true));
    expect(await operator.answered()).toBe(101);
    expect(world.dials.at(-1)).toMatchObject({ port: 5900, visitor: 'operator:carol' });
    operator.ws.terminate();
  });

  it('is cut with 4413 when the device is revoked, and when the rights are gone', async () => {
    world.echo();
    const device = await world.bound('op-cut');
    const first = connect(await admit(device));
    expect(await first.answered()).toBe(101);
    await world.bus.requestOf(LISTENER, 'listener.cut', { device: 'op-cut', epoch: device.epoch, code: 'revoked' });
    expect(await eventually('the close', () => first.closed)).toMatchObject({ code: 4413 });

    const second = connect(await admit(device));
    const unused = await admit(device);
    expect(await second.answered()).toBe(101);
    allowed.clear();
    world.bus.nc.publish('audit.operator.delete', '{}');
    expect(await eventually('the close', () => second.closed)).toMatchObject({ code: 4413 });
    expect(await connect(unused).answered()).toBe(404);
  });
});

describe('a ticket', () => {
  it('is good once, for its own key, at its own path', async () => {
    world.echo();
    const device = await world.bound('ticketed');
    const [one, other] = [await admit(device), await admit(device)];
    expect(await connect({ path: one.path, key: other.key }).answered()).toBe(401);
    expect(await connect({ path: one.path.replace(LISTENER, 'tcp-listener-9'), key: one.key }).answered()).toBe(404);
    expect(await connect({ path: `${one.path}x`, key: one.key }).answered()).toBe(404);
    expect(await connect({ path: `${one.path}/../x`, key: one.key }).answered()).toBe(404);
    expect(await connect({ path: one.path.replace('access', 'transfer'), key: one.key }).answered()).toBe(404);
    expect(await connect({ path: `${one.path}?max_frame=0`, key: one.key }).answered()).toBe(400);
    const used = connect(one);
    expect(await used.answered()).toBe(101);
    expect(await connect(one).answered()).toBe(404);
    used.ws.terminate();
  });

  it('is not for devices: their token opens none, and the key opens no transfer', async () => {
    const device = await world.bound('separate');
    const { path, key } = await admit(device);
    expect(await world.transfer(path).answered()).toBe(401);
    expect(await world.transfer(`/v1/transfer/${LISTENER}?warm=1`, key).answered()).toBe(401);
  });

  it('is void after its time, and no more than ACCESS_TICKETS wait', async () => {
    const device = await world.bound('late');
    const first = await admit(device);
    const free = async (): Promise<number> => {
      for (let count = 0; ; count += 1) {
        const full = await admit(device).then(
          () => false,
          (error: Error) => error.message === 'busy',
        );
        if (full) return count;
      }
    };
    expect(await free()).toBeLessThanOrEqual(2);
    await eventually('their time to be over', async () => (await metricOf(listener, 'culvert_access_tickets')) === 0);
    expect(await connect(first).answered()).toBe(404);
  });
});
