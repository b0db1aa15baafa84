import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { issueCertificate, makeAuthority } from '../../deploy/local/src/local-ca.ts';
import { DOMAIN, freePort, TestEdge, TestRedis, until } from './support.ts';

let folder: string;
let redis: TestRedis;
const edges: TestEdge[] = [];
const NAMES = [`DNS:*.${DOMAIN}`, `DNS:${DOMAIN}`];

interface Files {
  certificate: string;
  key: string;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'culvert-edge-expiry-'));
  await makeAuthority('openssl', authority(), DOMAIN);
  redis = await TestRedis.start();
});
afterAll(async () => {
  for (const edge of edges) await edge.stop();
  await redis?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const authority = () => ({ ca: join(folder, 'ca.pem'), caKey: join(folder, 'ca.key') });

async function issue(name: string, days: number): Promise<Files> {
  const files = { certificate: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  await issueCertificate('openssl', authority(), files, NAMES, days);
  return files;
}

const endOf = ({ certificate }: Files): Date => new X509Certificate(readFileSync(certificate)).validToDate;
const told = (source: 'files' | 'store', files: Files): string => `${source} ${endOf(files).getTime() / 1000}`;

async function start(files?: Files): Promise<TestEdge> {
  const more = files === undefined ? {} : { tls: { port: await freePort(), ...files } };
  const edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, {}, 1, more);
  edges.push(edge);
  return edge;
}

/** What the metrics of an edge say of the certificate that it serves, such as `files 1798000000`. */
async function toldBy(edge: TestEdge): Promise<string> {
  const text = await (await fetch(`http://127.0.0.1:${edge.healthPort}/metrics`)).text();
  const series = /^culvert_certificate_expires_timestamp_seconds\{use="edge",source="(\w+)"\} (\d+)$/m.exec(text);
  expect(text).toContain('# TYPE culvert_certificate_expires_timestamp_seconds gauge');
  return series === null ? 'none' : `${series[1]} ${series[2]}`;
}

describe('the end of the certificate that names of the domain are served with', () => {
  it('is in the metrics: that of the store if it can be used, else that of the files', async () => {
    const files = await issue('files', 30);
    const edge = await start(files);
    const becomes = (wanted: string): Promise<true> =>
      until(wanted, async () => {
        await redis.client.publish('route.changed', `*.${DOMAIN}`); // may come before the edge has subscribed
        return (await toldBy(edge)) === wanted;
      });
    await becomes(told('files', files));
    // What ends in 2050 or later is written differently.
    for (const days of [-1, 20, 20_000]) {
      const kept = await issue('kept', days);
      const fields = { chain: readFileSync(kept.certificate, 'utf8'), key: readFileSync(kept.key, 'utf8') };
      await redis.client.hset(`cert:*.${DOMAIN}`, fields);
      await becomes(told('store', kept));
    }
    await redis.client.hset(`cert:*.${DOMAIN}`, { chain: 'x', key: 'y' });
    await becomes(told('files', files));
    await redis.client.del(`cert:*.${DOMAIN}`);
  });

  it('is that of the files as nginx has loaded them, until it is told of others', async () => {
    const former = await issue('renewed', 10);
    const before = told('files', former);
    const edge = await start(former);
    const after = told('files', await issue('renewed', 40));
    expect(after).not.toBe(before);
    expect(await toldBy(edge)).toBe(before);
    process.kill(Number(readFileSync(join(edge.prefix, 'nginx.pid'), 'utf8')), 'SIGHUP');
    await until('the new one', async () => (await toldBy(edge)) === after);
  });

  it('is warned of when it is over, and it is served all the same; without TLS nothing is told', async () => {
    const over = await issue('over', -1);
    const [edge, without] = [await start(over), await start()];
    expect(await toldBy(edge)).toBe(told('files', over));
    expect(edge.errorLog()).toContain(`the certificate ${over.certificate} has ended at ${endOf(over).toUTCString()}`);
    expect(await toldBy(without)).toBe('none');
  });
});
