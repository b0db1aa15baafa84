import { randomBytes, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { createDeviceToken, digestOf } from '@culvert/service-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { issueCertificate, makeAuthority } from '../../../deploy/local/src/local-ca.ts';
import { freePort } from '../../../test/harness/servers.ts';
import { eventually, metricOf, type ServiceProcess } from '../../../test/harness/service.ts';
import { faultsOfSettings } from '../src/settings.ts';
import { DeviceTransfer, LISTENER, TOKEN, Visitor, World } from './world.ts';

const PENDING = 4;
let world: World;
let listener: ServiceProcess;
let folder: string;
let port: number;
let authority: { ca: string; caKey: string };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'culvert-published-'));
  authority = { ca: join(folder, 'ca.pem'), caKey: join(folder, 'ca.key') };
  const files = { certificate: join(folder, 'leaf.pem'), key: join(folder, 'leaf.key') };
  await makeAuthority('openssl', authority, 'localhost');
  await issueCertificate('openssl', authority, files, ['DNS:localhost']);
  port = await freePort();
  world = await World.start();
  listener = await world.startListener({
    CULVERT_TRANSFER_URL: `wss://localhost:${port}`,
    CULVERT_TRANSFER_PORT: String(port),
    CULVERT_TLS_CERT_FILE: files.certificate,
    CULVERT_TLS_KEY_FILE: files.key,
    CULVERT_LIMIT_HANDSHAKES_PENDING: String(PENDING),
    CULVERT_LIMIT_HANDSHAKE_MS: '20000',
    CULVERT_LIMIT_TLS_FILES_MS: '50',
  });
});
afterAll(async () => {
  await listener?.stop();
  await world?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** A transfer that is dialled at the published port, with the certificate verified. */
const dial = (path: string, token = TOKEN): DeviceTransfer =>
  new DeviceTransfer(`wss://localhost:${port}${path}`, token, { ca: readFileSync(authority.ca) });

/** Transfers that have come by this way. */
const came = async (way: string): Promise<number> => {
  const text = await (await fetch(`${listener.health}/metrics`)).text();
  return Number(new RegExp(`^culvert_transfer_handshakes_total\\{outcome="ok",way="${way}",.*\\} (\\d+)$`, 'm').exec(text)?.[1]);
};

describe('the published port of a listener', () => {
  it('takes transfers by TLS, half-close included', async () => {
    world.onDial = ({ path }) => {
      const transfer = dial(path);
      transfer.onData = (data) => transfer.ws.send(data);
    };
    const device = await world.bound('published');
    const visitor = new Visitor(device.tcp);
    const text = 'x'.repeat(300_000);
    visitor.socket.end(text);
    await visitor.end();
    expect(visitor.text()).toBe(text);
    expect(await came('direct')).toBe(1);
    expect(await came('edge')).toBe(0);
  });

  it('takes a renewed certificate without a restart, and its metrics say when the served one ends', async () => {
    const renewed = { certificate: join(folder, 'leaf.pem'), key: join(folder, 'leaf.key') };
    const ends = (): number => new X509Certificate(readFileSync(renewed.certificate)).validToDate.getTime() / 1000;
    const told = (): Promise<number> =>
      metricOf(listener, 'culvert_certificate_expires_timestamp_seconds', 'use="transfers",source="files"');
    const former = ends();
    expect(await told()).toBe(former);
    await issueCertificate('openssl', authority, renewed, ['DNS:localhost', 'DNS:renewed.localhost'], 500);
    const shown = (): Promise<string | undefined> =>
      new Promise((resolve, reject) => {
        const socket = tls.connect({ port, host: 'localhost', ca: readFileSync(authority.ca) }, () => {
          resolve(socket.getPeerCertificate().subjectaltname);
          socket.destroy();
        });
        socket.on('error', reject);
      });
    await eventually('the renewed one', async () => ((await shown())?.includes('renewed') ? true : undefined));
    expect(ends()).toBeGreaterThan(former);
    expect(await told()).toBe(ends());
  });

  it.runIf(process.platform === 'linux')(
    'leaves much unread at a peer that is behind, where by the edge bulk rests beside who waits',
    async () => {
      const rests = (): Promise<number> => metricOf(listener, 'culvert_bulk_rests_total');
      for (const way of ['direct', 'edge'] as const) {
        const device = await world.bound(`behind-${way}`);
        world.onDial = ({ path }) => {
          const transfer = way === 'direct' ? dial(path) : world.transfer(path);
          transfer.onData = (data) => {
            if (data.length > 100) transfer.ws.pause();
            else transfer.ws.send(data);
          };
        };
        const asker = new Visitor(device.tcp);
        asker.socket.setNoDelay(true).on('data', () => asker.socket.write('a question'));
        asker.socket.write('a question');
        await eventually('some answers', () => (asker.chunks.length > 20 ? true : undefined));
        const bulk = new Visitor(device.tcp);
        for (let i = 0; i < 256; i++) bulk.socket.write(Buffer.alloc(1 << 18));
        if (way === 'edge') await eventually('that it rests', async () => ((await rests()) > 0 ? true : undefined));
        const answers = asker.chunks.length;
        await eventually('many more answers', () => (asker.chunks.length > answers + 500 ? true : undefined));
        expect((await rests()) > 0).toBe(way === 'edge');
        expect(bulk.socket.writableLength).toBeGreaterThan(0);
        for (const { socket } of [asker, bulk]) socket.destroy();
      }
    },
  );

  it('refuses unknown ids and unknown tokens', async () => {
    const path = `/v1/transfer/${LISTENER}/${'a'.repeat(22)}`;
    expect(await dial(path).answered()).toBe(404);
    expect(await dial(`/v1/transfer/${LISTENER}?warm=1`, createDeviceToken()).answered()).toBe(401);
  });

  it('is no way in for operators: a good ticket is good at the internal address only', async () => {
    world.echo();
    const { device, epoch } = await world.bound('operated');
    const key = randomBytes(32).toString('base64url');
    const operator = { name: 'carol', token_digest: digestOf('the token of carol'), login: '' };
    const wanted = { device, epoch, port: 22, undeclared: false, operator, key_digest: digestOf(key) };
    const reply = await world.bus.requestOf(LISTENER, 'listener.admit', wanted);
    if (!reply.ok) throw new Error(reply.code);
    const path = `/v1/access/${LISTENER}/${reply.ticket}`;
    expect(await dial(path, key).answered()).toBe(404);
    const internal = world.transfer(path, key);
    expect(await internal.answered()).toBe(101);
    internal.ws.terminate();
  });

  it('has places for handshakes of its own: who fills them disturbs nobody who comes by the edge', async () => {
    world.echo();
    const device = await world.bound('beside');
    const silent = Array.from({ length: PENDING + 3 }, () => net.connect({ port, host: '127.0.0.1' }).on('error', () => {}));
    try {
      await eventually('all its places taken', async () => (await metricOf(listener, 'culvert_handshakes_pending')) >= PENDING);
      const visitor = new Visitor(device.tcp);
      visitor.socket.end('by the edge');
      await visitor.end();
      expect(visitor.text()).toBe('by the edge');
      expect(await came('edge')).toBeGreaterThan(0);
    } finally {
      for (const socket of silent) socket.destroy();
    }
  });
});

describe('settings of publishing', () => {
  const good = {
    CULVERT_LISTEN_PORT: 8081,
    CULVERT_TCP_PORTS: [20_000, 20_999] as const,
    CULVERT_TRANSFER_URL: 'wss://listener-1.example.com',
    CULVERT_TRANSFER_PORT: 443,
    CULVERT_TLS_CERT_FILE: '/certificate',
    CULVERT_TLS_KEY_FILE: '/key',
  };

  it('may end TLS here, in front, or nowhere', () => {
    const none = { CULVERT_TLS_CERT_FILE: '', CULVERT_TLS_KEY_FILE: '' };
    expect(faultsOfSettings(good)).toEqual([]);
    expect(faultsOfSettings({ ...good, ...none })).toEqual([]);
    expect(faultsOfSettings({ ...good, ...none, CULVERT_TRANSFER_PORT: 0 })).toEqual([]);
    expect(faultsOfSettings({ ...good, ...none, CULVERT_TRANSFER_URL: 'ws://10.0.0.7:8082' })).toEqual([]);
  });

  it.each([
    [{ CULVERT_TRANSFER_PORT: 20_500 }, 'CULVERT_TRANSFER_PORT=20500 lies within CULVERT_TCP_PORTS=20000-20999'],
    [{ CULVERT_LISTEN_PORT: 20_500 }, 'CULVERT_LISTEN_PORT=20500 lies within CULVERT_TCP_PORTS=20000-20999'],
    [{ CULVERT_TRANSFER_URL: '' }, 'expected CULVERT_TRANSFER_URL as well'],
    [{ CULVERT_TRANSFER_URL: 'ws://listener-1.example.com' }, 'expected wss://'],
    [{ CULVERT_TRANSFER_PORT: 0 }, 'CULVERT_TLS_CERT_FILE is for CULVERT_TRANSFER_PORT, which is 0'],
    [{ CULVERT_TLS_KEY_FILE: '' }, 'go together'],
  ])('name what does not go together: %j', (changes, fault) => {
    expect(faultsOfSettings({ ...good, ...changes })).toEqual([expect.stringContaining(fault)]);
  });
});
