import { copyFileSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { DEFAULT_LIMITS } from '@culvert/contracts';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { issueCertificate, makeAuthority } from '../../../deploy/local/src/local-ca.ts';
import { eventually } from '../../../test/harness/service.ts';
import { faultsOfTlsFiles, type HandshakeServer, ServedCertificate, serveHandshakes, watchCertificate } from '../src/index.ts';

const PENDING = 3;
const HANDSHAKE_MS = 1_000;
let folder: string;
let files: { CULVERT_TLS_CERT_FILE: string; CULVERT_TLS_KEY_FILE: string };
const events: { event?: string }[] = [];
const log = pino({ level: 'info' }, { write: (line: string) => void events.push(JSON.parse(line)) });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'culvert-served-tls-'));
  const authority = { ca: join(folder, 'ca.pem'), caKey: join(folder, 'ca.key') };
  await makeAuthority('openssl', authority, 'localhost');
  for (const [name, days] of Object.entries({ first: 30, second: 60, over: -1 })) {
    const made = { certificate: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
    await issueCertificate('openssl', authority, made, [`DNS:${name}.localhost`], days);
  }
  files = { CULVERT_TLS_CERT_FILE: join(folder, 'served.pem'), CULVERT_TLS_KEY_FILE: join(folder, 'served.key') };
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  serve('first');
  events.length = 0;
});

function serve(name: string): void {
  copyFileSync(join(folder, `${name}.pem`), files.CULVERT_TLS_CERT_FILE);
  copyFileSync(join(folder, `${name}.key`), files.CULVERT_TLS_KEY_FILE);
}

/** The name that a new connection is shown. */
function shown(port: number): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().subjectaltname);
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

describe('a served certificate', () => {
  it('is changed while the server serves, once both files fit together', async () => {
    const certificate = new ServedCertificate(files, log);
    const server = tls.createServer(certificate.pair).on('tlsClientError', () => {});
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const { port } = server.address() as net.AddressInfo;
    certificate.follow(server, 20);
    try {
      expect(await shown(port)).toBe('DNS:first.localhost');
      copyFileSync(join(folder, 'second.pem'), files.CULVERT_TLS_CERT_FILE);
      await eventually('a warning', () => events.some(({ event }) => event === 'certificate.unusable') || undefined);
      expect(await shown(port)).toBe('DNS:first.localhost');
      copyFileSync(join(folder, 'second.key'), files.CULVERT_TLS_KEY_FILE);
      await eventually('the new one', () => events.some(({ event }) => event === 'certificate.renewed') || undefined);
      expect(await shown(port)).toBe('DNS:second.localhost');
    } finally {
      certificate.stop();
      server.close();
    }
  });

  it('that is over is served with a warning, at the start as after a renewal, and a metric says when the served one ends', async () => {
    serve('over');
    const certificate = new ServedCertificate(files, log);
    const warned = (): typeof events => events.filter(({ event }) => event === 'certificate.expired');
    const [warning] = warned();
    expect(warning).toMatchObject({ file: files.CULVERT_TLS_CERT_FILE, level: 40 });
    const registry = new Registry();
    watchCertificate(registry, 'transfers', certificate);
    const daysLeft = async (): Promise<number> => {
      const text = await registry.metrics();
      const found = /^culvert_certificate_expires_timestamp_seconds\{use="transfers",source="files"\} (\d+)$/m.exec(text);
      return Math.round((Number(found?.[1]) - Date.now() / 1000) / 86_400);
    };
    const server = tls.createServer(certificate.pair).on('tlsClientError', () => {});
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    certificate.follow(server, 20);
    try {
      expect(await shown((server.address() as net.AddressInfo).port)).toBe('DNS:over.localhost');
      expect(await daysLeft()).toBe(-1);
      serve('second');
      await eventually('the new one', () => events.some(({ event }) => event === 'certificate.renewed') || undefined);
      expect(await daysLeft()).toBe(60);
      expect(warned()).toHaveLength(1);
      serve('over');
      await eventually('a second warning', () => warned().length === 2 || undefined);
      expect(await daysLeft()).toBe(-1);
    } finally {
      certificate.stop();
      server.close();
    }
  });

  it('is refused at the start with the name of what is wrong', () => {
    expect(() => new ServedCertificate({ ...files, CULVERT_TLS_KEY_FILE: join(folder, 'none') }, log)).toThrow(
      /^CULVERT_TLS_KEY_FILE=.*none cannot be read: ENOENT/,
    );
    const loop = join(folder, 'loop');
    symlinkSync(loop, loop);
    expect(() => new ServedCertificate({ ...files, CULVERT_TLS_KEY_FILE: loop }, log)).toThrow(
      /^CULVERT_TLS_KEY_FILE=.* cannot be/,
    );
    writeFileSync(files.CULVERT_TLS_CERT_FILE, 'no certificate');
    expect(() => new ServedCertificate(files, log)).toThrow(/are no certificate and its key/);
    expect(faultsOfTlsFiles({ ...files, CULVERT_TLS_KEY_FILE: '' })).toHaveLength(1);
    expect(faultsOfTlsFiles(files)).toEqual([]);
  });
});

describe('handshakes by TLS', () => {
  let server: HandshakeServer;
  let port: number;
  beforeEach(async () => {
    server = await serveHandshakes({
      ...{ host: '127.0.0.1', port: 0, certificate: new ServedCertificate(files, log) },
      limits: { ...DEFAULT_LIMITS, HANDSHAKE_MS, HANDSHAKES_PENDING: PENDING, CLOSE_MS: 200 },
      render: ({ code }) => `HTTP/1.1 400 Bad Request\r\nContent-Length: ${code.length}\r\nConnection: close\r\n\r\n${code}`,
      onHandshake: (handshake) => handshake.refuse({ code: 'not_found', message: 'nothing is here' }),
    });
    port = Number(server.address.split(':').at(-1));
    return () => server.close();
  });

  const open = (bytes: string | undefined): net.Socket => {
    const socket = net.connect({ port, host: '127.0.0.1' }).on('error', () => {});
    if (bytes !== undefined) socket.write(bytes, 'latin1');
    return socket.resume();
  };
  const closed = (socket: net.Socket): Promise<unknown> => new Promise((resolve) => socket.once('close', resolve));
  const ask = (): Promise<string> =>
    new Promise((resolve, reject) => {
      let text = '';
      const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
      });
      socket.on('data', (data) => (text += data)).on('end', () => resolve(text));
      socket.on('error', reject);
    });

  it('are answered, and forgotten when they are over', async () => {
    expect(await ask()).toMatch(/^HTTP\/1\.1 400 .*not_found$/s);
    await eventually('nothing pending', () => (server.pending === 0 ? true : undefined));
  });

  it('are cut when the client says no TLS, or nothing for too long', async () => {
    await Promise.all([closed(open('GET / HTTP/1.1\r\n\r\n')), closed(open(undefined)), closed(open('\x16\x03\x01\x02\x00'))]);
    await eventually('nothing pending', () => (server.pending === 0 ? true : undefined));
  });

  it('are bounded in number from the first byte on', async () => {
    const silent = Array.from({ length: PENDING }, () => open(undefined));
    await eventually('all places taken', () => (server.pending === PENDING ? true : undefined));
    await closed(open(undefined));
    expect(silent.filter(({ destroyed }) => !destroyed)).toHaveLength(PENDING);
    expect(server.pending).toBe(PENDING);
    for (const socket of silent) socket.destroy();
    await eventually('all places free', () => (server.pending === 0 ? true : undefined));
    expect(await ask()).toMatch(/not_found$/);
  });
});
