import { connect } from 'node:net';
import { createDeviceToken } from '@culvert/service-kit';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually, metricOf, type ServiceProcess } from '../../../test/harness/service.ts';
import { ask, digest, GOOD_HEADERS, RawDevice, send, World } from './world.ts';

let world: World;
let ingress: ServiceProcess;
let at: { host: string; port: number };

beforeAll(async () => {
  world = await World.start();
  ingress = await world.startIngress({
    CULVERT_LIMIT_HANDSHAKE_MS: '1500',
    CULVERT_LIMIT_ACQUIRE_MS: '1000',
    CULVERT_LIMIT_HANDSHAKES_PENDING: '20',
    CULVERT_LIMIT_CLOSE_MS: '300',
  });
  at = await world.addressOf();
});
afterAll(async () => {
  await ingress?.stop();
  await world?.stop();
});
beforeEach(() => {
  world.onAcquire = async (request) => world.grant(request);
  world.acquired.length = 0;
  world.released.length = 0;
});

const ports33 = Array.from({ length: 33 }, (_, index) => 1000 + index).join(',');

describe('a control handshake', () => {
  it.each([
    ['no name', 'ports=80', 'name is missing'],
    ['a name in upper case', 'name=Alice&ports=80', 'not a DNS label'],
    ['a name with dots', 'name=a.b&ports=80', 'not a DNS label'],
    ['a name of 64 characters', `name=${'a'.repeat(64)}&ports=80`, '64 characters'],
    ['a name beyond ASCII', 'name=%C3%A4&ports=80', 'not a DNS label'],
    ['no ports', 'name=alice', 'ports is missing'],
    ['33 ports', `name=alice&ports=${ports33}`, '33 entries'],
    ['port 0', 'name=alice&ports=tcp:0', 'tcp:0'],
    ['port 65536', 'name=alice&ports=65536', '65536'],
    ['a port twice', 'name=alice&ports=80,tcp:80', '80 twice'],
    ['a broken max_frame', 'name=alice&ports=80&max_frame=x', 'max_frame'],
    ['a broken escape', 'name=%zz&ports=80', 'percent-encoded'],
  ])('with %s is refused with 400 and says why', async (_what, query, text) => {
    const answer = await ask(at, `/v1/control?${query}`, GOOD_HEADERS);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ code: 'bad_request', message: expect.stringContaining(text) });
    expect(answer.headers.get('connection')).toBe('close');
    expect(world.acquired).toHaveLength(0);
  });

  it.each([
    ['upgrade', 400, 'bad_request'],
    ['sec-websocket-key', 400, 'bad_request'],
    ['sec-websocket-version', 400, 'bad_request'],
    ['sec-websocket-protocol', 400, 'bad_request'],
    ['authorization', 401, 'unauthorized'],
  ])('without %s is refused with %i', async (name, status, code) => {
    const { [name]: _left, ...headers } = GOOD_HEADERS;
    const answer = await ask(at, '/v1/control?name=alice&ports=80', headers);
    expect(answer).toMatchObject({ status, body: { code } });
  });

  it('with a token of a wrong checksum is refused with 401 and asks nobody', async () => {
    const answer = await ask(at, '/v1/control?name=alice&ports=80', { ...GOOD_HEADERS, authorization: 'Bearer cvd_nonsense' });
    expect(answer).toMatchObject({ status: 401, body: { code: 'unauthorized' } });
    expect(world.acquired).toHaveLength(0);
  });

  it('to another path is refused with 404', async () => {
    expect(await ask(at, '/v1/other', GOOD_HEADERS)).toMatchObject({ status: 404, body: { code: 'not_found' } });
  });

  it.each([
    ['unauthorized', 401],
    ['forbidden', 403],
    ['name_in_use', 409],
    ['rate_limited', 429],
    ['unavailable', 503],
    ['ports_exhausted', 503],
    ['recovering', 503],
  ])('that the lease-manager refuses with %s is answered %i', async (code, status) => {
    world.onAcquire = async () => ({ ok: false, code, message: `because of ${code}` });
    const answer = await ask(at, '/v1/control?name=alice&ports=80', GOOD_HEADERS);
    expect(answer).toMatchObject({ status, body: { code, message: `because of ${code}` } });
    expect(answer.headers.has('retry-after')).toBe(status === 429 || status === 503);
  });

  it('passes the wait that the lease-manager names on as Retry-After', async () => {
    world.onAcquire = async () => ({ ok: false, code: 'unavailable', message: 'later', retry_after_ms: 6_500 });
    const answer = await ask(at, '/v1/control?name=alice&ports=80', GOOD_HEADERS);
    expect(answer.headers.get('retry-after')).toBe('7');
  });

  it('is answered 503 when the lease-manager stays silent, and the tenure that came too late is released', async () => {
    world.onAcquire = async (request) => {
      const reply = world.grant(request);
      await eventually('the answer of the ingress', () => answered, 5_000);
      return reply;
    };
    let answered = false;
    const answer = await ask(at, '/v1/control?name=late&ports=80', GOOD_HEADERS);
    answered = true;
    expect(answer).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    const release = await eventually('the release', () => world.released.find(({ device }) => device === 'late'));
    expect(release).toMatchObject({ epoch: world.leases.get('late')?.epoch, reason: 'connection_broken' });
  });

  it('with a head larger than its limit is refused with 413', async () => {
    const answer = await ask(at, '/v1/control?name=alice&ports=80', { ...GOOD_HEADERS, 'x-large': 'x'.repeat(9_000) });
    expect(answer).toMatchObject({ status: 413, body: { code: 'too_large' } });
  });

  it('that is no HTTP is refused with 400', async () => {
    expect(await send(at, '\x16\x03\x01 hello\r\n\r\n')).toMatchObject({ status: 400, body: { code: 'bad_request' } });
  });

  it('that never ends is refused once its time is over', async () => {
    const answer = await send(at, 'GET /v1/control?name=alice&ports=80 HTTP/1.1\r\nhost: x\r\n');
    expect(answer).toMatchObject({ status: 400, body: { message: expect.stringContaining('not complete within 1500 ms') } });
  });

  it('beyond the number of handshakes at once is refused with 503 while the others go on', async () => {
    const idle = Array.from({ length: 20 }, () => connect(at.port, at.host));
    await eventually('20 pending handshakes', async () => (await metricOf(ingress, 'culvert_handshakes_pending')) === 20);
    const answer = await ask(at, '/v1/control?name=alice&ports=80', GOOD_HEADERS);
    expect(answer).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    for (const socket of idle) socket.destroy();
    await eventually('none pending', async () => (await metricOf(ingress, 'culvert_handshakes_pending')) === 0);
  });

  it('whose client leaves while the lease is acquired leaves no tenure behind', async () => {
    let left = (): void => {};
    const hasLeft = new Promise<void>((resolve) => {
      left = resolve;
    });
    world.onAcquire = async (request) => {
      await hasLeft;
      return world.grant(request);
    };
    const device = new RawDevice(at, 'name=hasty&ports=80');
    await eventually('the acquire', () => world.acquired.length === 1);
    device.ws.terminate();
    await eventually('the guard to notice', async () => (await metricOf(ingress, 'culvert_handshakes_pending')) === 0);
    left();
    const release = await eventually('the release', () => world.released.find(({ device }) => device === 'hasty'));
    expect(release.epoch).toBe(world.leases.get('hasty')?.epoch);
  });
});

describe('a good control handshake', () => {
  it('asks for exactly what the device wants, with the address that the edge saw', async () => {
    const query = 'name=alice&ports=80,https:8443,tcp:22&warm=2&transfers=9&max_frame=4096&boot=0123456789abcdef';
    const device = new RawDevice(at, query, { headers: { 'x-forwarded-for': '6.6.6.6, 192.0.2.7' } });
    await device.message('ready');
    expect(world.acquired[0]).toMatchObject({
      device: 'alice',
      token_digest: digest,
      ports: [
        { port: 80, scheme: 'http' },
        { port: 8443, scheme: 'https' },
        { port: 22, scheme: 'tcp' },
      ],
      boot: '0123456789abcdef',
      remote: '192.0.2.7',
      warm: 2,
      transfers: 9,
      max_frame: 4096,
    });
    device.ws.close(1000);
    await device.end();
  });

  it('takes any well-formed token to the lease-manager', async () => {
    world.onAcquire = async () => ({ ok: false, code: 'forbidden', message: 'the token is of another device' });
    const headers = { ...GOOD_HEADERS, authorization: `Bearer ${createDeviceToken()}` };
    expect(await ask(at, '/v1/control?name=bob&ports=80', headers)).toMatchObject({ status: 403 });
  });
});
