/** TLS sessions that are resumed, and those that must not be. */
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { DEFAULT_LIMITS } from '@culvert/contracts';
import { connectWebSocket, pinOf, TlsSessions } from '@culvert/relay';
import { renderUpgrade } from '@culvert/wire';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { issueCertificate, makeAuthority } from '../../../deploy/local/src/local-ca.ts';
import { targetOf } from '../src/address.ts';

const dir = mkdtempSync(join(tmpdir(), 'culvert-sessions-'));
const leaves: Record<'good' | 'again' | 'other', { cert: string; key: string }> = {} as never;
let ca: string;
const servers = new Set<https.Server>();

beforeAll(async () => {
  const authority = { ca: join(dir, 'ca.pem'), caKey: join(dir, 'ca.key') };
  await makeAuthority('openssl', authority, 'culvert.test');
  ca = readFileSync(authority.ca, 'utf8');
  const issue = async (name: keyof typeof leaves, host: string): Promise<void> => {
    const leaf = { certificate: join(dir, `${name}.pem`), key: join(dir, `${name}.key`) };
    await issueCertificate('openssl', authority, leaf, [`DNS:${host}`]);
    leaves[name] = { cert: readFileSync(leaf.certificate, 'utf8'), key: readFileSync(leaf.key, 'utf8') };
  };
  await issue('good', 'localhost');
  await issue('again', 'localhost');
  await issue('other', 'a.culvert.test');
});
afterEach(() => Promise.all([...servers].map(stop)));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A server whose handshakes say whether they resumed. */
async function serve(
  options: https.ServerOptions,
  port = 0,
): Promise<{ port: number; resumed: boolean[]; stop(): Promise<void> }> {
  const resumed: boolean[] = [];
  const server = https.createServer(options);
  server.on('upgrade', (request: http.IncomingMessage, socket: Duplex) => {
    resumed.push((socket as TLSSocket).isSessionReused());
    socket.on('error', () => {}).resume();
    socket.write(renderUpgrade(String(request.headers['sec-websocket-key'])));
  });
  await new Promise<void>((done) => server.listen(port, 'localhost', done));
  servers.add(server);
  return { port: (server.address() as AddressInfo).port, resumed, stop: () => stop(server) };
}

async function stop(server: https.Server): Promise<void> {
  if (!servers.delete(server)) return;
  const closed = new Promise((done) => server.close(done));
  server.closeAllConnections();
  await closed;
}

type Trust = Parameters<typeof targetOf>[0];

const settingsOf = ({ ca, pins }: { ca?: string; pins?: string[] }): Trust => ({ proxy: null, ca, pins, limits: DEFAULT_LIMITS });

async function dial(settings: Trust, port: number, sessions?: TlsSessions): Promise<void> {
  const target = targetOf(settings, new URL(`https://localhost:${port}`), '/v1/control', 'token', new AbortController().signal);
  const { socket } = await connectWebSocket(sessions === undefined ? target : { ...target, sessions });
  socket.destroy();
}

describe('an agent that dials a server again', () => {
  it.each(['TLSv1.3', 'TLSv1.2'] as const)('resumes its session, by %s', async (version) => {
    const server = await serve({ ...leaves.good, maxVersion: version });
    const settings = settingsOf({ ca, pins: [pinOf(new X509Certificate(leaves.good.cert))] });
    for (let round = 0; round < 4; round += 1) await dial(settings, server.port);
    expect(server.resumed).toEqual([false, true, true, true]);
  });

  it('does without where the server has forgotten it, and resumes the next one', async () => {
    const settings = settingsOf({ ca });
    const former = await serve(leaves.good);
    await dial(settings, former.port);
    await former.stop();
    const server = await serve(leaves.again, former.port);
    await dial(settings, server.port);
    await dial(settings, server.port);
    expect(server.resumed).toEqual([false, true]);
  });

  it('checks the certificate of one that does not resume, and the pins with it', async () => {
    const settings = settingsOf({ ca });
    const pinned = settingsOf({ ca, pins: [pinOf(new X509Certificate(leaves.good.cert))] });
    const former = await serve(leaves.good);
    for (const each of [settings, pinned]) await dial(each, former.port);
    await former.stop();
    const elsewhere = await serve(leaves.other, former.port);
    await expect(dial(settings, former.port)).rejects.toThrow(/other names than localhost/);
    await elsewhere.stop();
    const server = await serve(leaves.again, former.port);
    await expect(dial(pinned, former.port)).rejects.toThrow(/not the pinned key/);
    expect(server.resumed).toEqual([]);
  });

  it('resumes nothing that was verified by another trust', async () => {
    const server = await serve(leaves.good);
    const settings = settingsOf({ ca });
    for (let round = 0; round < 2; round += 1) await dial(settings, server.port);
    await expect(dial(settingsOf({}), server.port)).rejects.toThrow(/authority that is not trusted/);
    const pins = [pinOf(new X509Certificate(leaves.other.cert))];
    const mistaken = settingsOf({ ca, pins });
    for (let round = 0; round < 2; round += 1) await expect(dial(mistaken, server.port)).rejects.toThrow(/not the pinned key/);
    await dial(settingsOf({ ca }), server.port);
    expect(server.resumed).toEqual([false, true, false]);
  });

  it('verifies the certificate anew when that was long ago, however often it has resumed', async () => {
    const server = await serve(leaves.good);
    const settings = settingsOf({ ca });
    for (let round = 0; round < 2; round += 1) await dial(settings, server.port, new TlsSessions(DEFAULT_LIMITS.TLS_SESSION_MS));
    const stale = new TlsSessions(0);
    for (let round = 0; round < 2; round += 1) await dial(settings, server.port, stale);
    expect(server.resumed).toEqual([false, false, false, false]);
    const sessions = new TlsSessions(DEFAULT_LIMITS.TLS_SESSION_MS);
    const verifiedAt = (): number | undefined => sessions.of(`localhost:${server.port}`)?.verifiedAt;
    await dial(settings, server.port, sessions);
    const first = verifiedAt();
    await dial(settings, server.port, sessions);
    expect(server.resumed.at(-1)).toBe(true);
    expect(verifiedAt()).toBe(first);
  });
});

it('keeps the sessions of few addresses, the last used ones', () => {
  const sessions = new TlsSessions(DEFAULT_LIMITS.TLS_SESSION_MS);
  const session = Buffer.alloc(1);
  for (let port = 0; port < 40; port += 1) sessions.keep(`localhost:${port}`, session, performance.now());
  expect(sessions.of('localhost:0')).toBeUndefined();
  expect(sessions.of('localhost:39')).toBeDefined();
  sessions.forget('localhost:39');
  expect(sessions.of('localhost:39')).toBeUndefined();
});
