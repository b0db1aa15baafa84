import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { pinOf } from '@culvert/relay';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { issueCertificate, makeAuthority } from '../../../deploy/local/src/local-ca.ts';
import { createAgent } from '../src/index.ts';
import { happened, serve, start } from './kit.ts';
import type { TestServerOptions } from './server.ts';

const dir = mkdtempSync(join(tmpdir(), 'culvert-agent-tls-'));
const authority = { ca: join(dir, 'ca.pem'), caKey: join(dir, 'ca.key') };
let ca: string;
/** Certificates by what is special about them. */
const kept: Record<'good' | 'expired' | 'other', NonNullable<TestServerOptions['tls']>> = {} as never;
let itself: NonNullable<TestServerOptions['tls']>;

beforeAll(async () => {
  await makeAuthority('openssl', authority, 'culvert.test');
  ca = readFileSync(authority.ca, 'utf8');
  const issue = async (name: keyof typeof kept, names: string[], days?: number): Promise<void> => {
    const leaf = { certificate: join(dir, `${name}.pem`), key: join(dir, `${name}.key`) };
    await issueCertificate('openssl', authority, leaf, names, days);
    kept[name] = { cert: readFileSync(leaf.certificate, 'utf8'), key: readFileSync(leaf.key, 'utf8') };
  };
  await issue('good', ['DNS:localhost']);
  await issue('expired', ['DNS:localhost'], -1);
  await issue('other', ['DNS:a.culvert.test']);
  const args = [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-noenc',
    '-subj',
    '/CN=localhost',
    '-addext',
    'subjectAltName=DNS:localhost',
  ];
  await promisify(execFile)('openssl', [...args, '-keyout', join(dir, 'self.key'), '-out', join(dir, 'self.pem')]);
  itself = { cert: readFileSync(join(dir, 'self.pem'), 'utf8'), key: readFileSync(join(dir, 'self.key'), 'utf8') };
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** What the agent says of a server; the server must have heard nothing. */
async function refusalOf(
  tls: TestServerOptions['tls'],
  options: { ca?: string; pins?: string[]; servers?: string[] },
): Promise<string> {
  const server = await serve(tls === undefined ? {} : { tls });
  const url = tls === undefined ? server.url.replace('http://127.0.0.1', 'https://localhost') : server.url;
  const { events } = start({ servers: [url], ...options });
  const { message } = await happened(events, 'disconnected');
  expect(server.handshakes).toEqual([]);
  return String(message);
}

describe('an agent that finds fault with the certificate', () => {
  it.each([
    [
      'expired',
      () => kept.expired,
      /has a certificate that has expired \(this machine's clock says \d{4}-.*renew it on the server/,
    ],
    ['for another name', () => kept.other, /other names than localhost.*a\.culvert\.test/],
  ] as const)('says that it is %s', async (_what, tls, expected) => {
    expect(await refusalOf(tls(), { ca })).toMatch(expected);
  });

  it('says that nobody it trusts has signed it, and how that is changed', async () => {
    expect(await refusalOf(kept.good, {})).toMatch(
      /localhost:\d+\/v1\/control has a certificate of an authority.*--ca-file FILE/,
    );
    expect(await refusalOf(itself, {})).toMatch(/signed itself.*--ca-file FILE/);
  });

  it('says that the port does not speak TLS', async () => {
    expect(await refusalOf(undefined, {})).toMatch(/does not speak TLS at this port/);
  });

  it('says which key it found in the place of the pinned one', async () => {
    const [found, pinned] = [pinOf(new X509Certificate(kept.good.cert)), pinOf(new X509Certificate(kept.other.cert))];
    const message = await refusalOf(kept.good, { ca, pins: [pinned] });
    expect(message).toContain('not the pinned key');
    expect(message).toContain(found);
    expect(message).toContain(pinned);
  });
});

it('the pinned key does not replace the check of the certificate', async () => {
  expect(await refusalOf(kept.good, { pins: [pinOf(new X509Certificate(kept.good.cert))] })).toMatch(/authority/);
});

it('an agent connects to one of the pinned keys', async () => {
  const server = await serve({ tls: kept.good });
  const pins = [pinOf(new X509Certificate(kept.other.cert)), pinOf(new X509Certificate(kept.good.cert))];
  const { events } = start({ servers: [server.url], ca, pins });
  await server.control(0);
  await happened(events, 'ready');
});

it('pins that are none, or that nobody would look at, are refused at the start', () => {
  const options = {
    name: 'a',
    token: 't',
    mappings: [{ port: 80, scheme: 'http' as const, target: { host: '127.0.0.1', port: 80 } }],
  };
  expect(() => createAgent({ ...options, servers: ['https://localhost'], pins: ['sha256/short', 'x'] })).toThrow(
    /pin "sha256\/short" is none; expected sha256\/ and 44.*pin "x" is none/,
  );
  expect(() => createAgent({ ...options, servers: ['http://localhost'], pins: [`sha256/${'A'.repeat(43)}=`] })).toThrow(
    /has no key to be pinned; expected https or wss/,
  );
});

it("Node's own switch does not turn the check off, and CULVERT_CA_FILE adds an authority", async () => {
  const cli = fileURLToPath(new URL('../../cli/bin/culvert.mjs', import.meta.url));
  const server = await serve({ tls: kept.good, token: 'device-token' });
  const started = (env: Record<string, string>) =>
    execFile(process.execPath, [cli, 'agent', '--server', server.url, '--name', 'alice', '--json', '80'], {
      env: { PATH: process.env.PATH, CULVERT_TOKEN: 'device-token', ...env },
    });
  const said = async (env: Record<string, string>, word: string): Promise<string> => {
    const child = started(env);
    let text = '';
    try {
      for await (const chunk of child.stdout ?? []) {
        text += chunk;
        if (text.includes(word)) return text;
      }
      throw new Error(`it did not say ${word}: ${text}`);
    } finally {
      child.kill();
    }
  };
  expect(await said({ NODE_TLS_REJECT_UNAUTHORIZED: '0' }, 'disconnected')).toContain('an authority that is not trusted');
  expect(server.handshakes).toEqual([]);
  expect(await said({ CULVERT_CA_FILE: authority.ca }, '"ready"')).toContain('ready');
});
