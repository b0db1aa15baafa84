import { createLogger } from '@culvert/service-kit';
import { Registry } from 'prom-client';
import { afterEach, expect, it } from 'vitest';
import { CertificateWatch, stateOfCertificate } from '../src/certificate-watch.ts';

const DAY = 24 * 3_600_000;
const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

it('a certificate is good, then expiring, then expired', () => {
  const now = 1_000 * DAY;
  expect(stateOfCertificate(now + 15 * DAY, 14 * DAY, now)).toBe('good');
  expect(stateOfCertificate(now + 14 * DAY, 14 * DAY, now)).toBe('expiring');
  expect(stateOfCertificate(now + 1, 14 * DAY, now)).toBe('expiring');
  expect(stateOfCertificate(now, 14 * DAY, now)).toBe('expired');
});

it('each state is counted, told once a domain, and told again when a renewed one runs out again', async () => {
  const domains = new Map([
    ['good.example', Date.now() + 90 * DAY],
    ['soon.example', Date.now() + DAY],
    ['over.example', Date.now() - DAY],
  ]);
  let looks = 0;
  const records = {
    async *all() {
      looks += 1;
      for (const [id, not_after] of domains) yield { id, value: { device: 'till', certificate: { not_after } } };
    },
  } as unknown as ConstructorParameters<typeof CertificateWatch>[0]['records'];
  const said: { event: string; host: string }[] = [];
  const log = createLogger('admin', 'admin-1', 'info');
  log.warn = ((entry: { event: string; host: string }) => void said.push(entry)) as typeof log.warn;
  const registry = new Registry();
  const watch = new CertificateWatch({
    ...{ records, log, registry },
    limits: { CERTIFICATE_SOON_MS: 14 * DAY, CERTIFICATE_LOOK_MS: 10 },
  });
  const looked = async (times: number): Promise<void> => {
    const until = looks + times;
    while (looks < until) await new Promise((done) => setTimeout(done, 5));
  };
  watch.start();
  ends.push(() => watch.stop());
  await looked(3);
  const text = await registry.metrics();
  for (const state of ['good', 'expiring', 'expired']) expect(text).toContain(`culvert_domain_certificates{state="${state}"} 1`);
  const told = () => said.map(({ event, host }) => `${event} ${host}`).sort();
  expect(told()).toEqual(['certificate.expired over.example', 'certificate.expiring soon.example']);
  domains.set('over.example', Date.now() + 90 * DAY);
  await looked(3);
  domains.set('over.example', Date.now() - DAY);
  await looked(3);
  expect(told().filter((line) => line.includes('over.example'))).toHaveLength(2);
});
