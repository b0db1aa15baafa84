import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { issueCertificate, makeAuthority } from '../src/local-ca.ts';
import { serveTls } from '../src/served-tls.ts';
import { loadSettings } from '../src/settings.ts';

const folder = mkdtempSync(join(tmpdir(), 'culvert-served-'));
afterAll(() => rmSync(folder, { recursive: true }));

it("an operator's certificate that has ended is served with a notice, and what is no certificate is left to nginx", async () => {
  const authority = { ca: join(folder, 'ca.pem'), caKey: join(folder, 'ca.key') };
  const leaf = { certificate: join(folder, 'leaf.pem'), key: join(folder, 'leaf.key') };
  await makeAuthority('openssl', authority, 'culvert.test');
  const served = (certificate = leaf.certificate) =>
    serveTls(loadSettings({ CULVERT_TLS: 'files', CULVERT_TLS_CERT_FILE: certificate, CULVERT_TLS_KEY_FILE: leaf.key }));
  await issueCertificate('openssl', authority, leaf, ['DNS:culvert.test'], 1);
  expect(await served()).toMatchObject({ notice: undefined, edge: leaf });
  await issueCertificate('openssl', authority, leaf, ['DNS:culvert.test'], -1);
  expect(await served()).toMatchObject({ notice: expect.stringMatching(/leaf\.pem has ended at \d{4}-.*Z: /), edge: leaf });
  expect((await served(leaf.key))?.notice).toBeUndefined();
  expect((await served(join(folder, 'none')))?.notice).toBeUndefined();
});
