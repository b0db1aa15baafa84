/**
 * `npm run dashboard:screenshots`: the pictures of docs/DASHBOARD.md, from a real stack with devices and visitors. Twelve devices
 * are visited for a while first, or for as many seconds as the argument says.
 */
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import type { Page } from 'playwright-core';
import { request } from 'undici';
import { tcpVisitor } from '../e2e/support.ts';
import { logIn, startScene } from './scene.ts';

const NAMES = [
  ...['berlin-pump-1', 'berlin-pump-2', 'camera-north', 'camera-south', 'cellar-sensor', 'demo-kiosk', 'garage-door'],
  ...['greenhouse', 'lyon-boiler', 'oslo-meter', 'printer-lab', 'vienna-gate'],
];
const seconds = Number(process.argv[2] ?? 60);
const out = resolve(process.argv[3] ?? join(import.meta.dirname, '../../docs/dashboard'));
mkdirSync(out, { recursive: true });

/** One address takes everything, the other nothing. */
const receiver = createServer((request, response) => {
  request.resume();
  response.writeHead(request.url === '/gone' ? 500 : 204).end();
});
await new Promise<void>((done) => receiver.listen(0, '127.0.0.1', done));
const scene = await startScene({
  env: {
    ...{ CULVERT_GRACE: '1h', CULVERT_REPLICAS: 'ws-ingress=2,tcp-listener=2', CULVERT_WEBHOOK_PRIVATE: '1' },
    ...{ CULVERT_LIMIT_WEBHOOK_RETRY_MS: '50', CULVERT_LIMIT_WEBHOOK_EVENT_MS: '400' },
  },
});
const { stack } = scene;
let devices: { name: string; endpoints: { url?: string; host: string; public_port: number }[] }[] = [];
try {
  const agents = await Promise.all(NAMES.map((name) => scene.device(name)));
  for (const name of ['spare-1', 'spare-2', 'stolen']) await stack.addDevice(name);
  await stack.admin('DELETE', '/v1/devices/stolen');
  await stack.admin('PATCH', '/v1/devices/berlin-pump-1', { labels: { site: 'berlin', kind: 'pump' } });
  await stack.admin('PATCH', '/v1/devices/berlin-pump-2', { labels: { site: 'berlin', kind: 'pump' } });
  await stack.admin('PUT', '/v1/devices/camera-north/access', { access: 'private' });
  await stack.admin('POST', '/v1/devices/berlin-pump-1/grants', { label: 'the plumber', for_ms: 8 * 3_600_000 });
  await stack.admin('PUT', '/v1/devices/berlin-pump-1/policy', { visitors: 100, day_bytes_cap: 1024 ** 3 });
  await stack.admin('POST', '/v1/enrolment-keys', { labels: { site: 'lyon' }, uses: 25, notes: 'boilers of the second floor' });
  await stack.admin('POST', '/v1/enrolment-keys', { labels: { site: 'oslo' }, uses: null, expires_in_ms: null });
  for (const [name, role] of [
    ['olga', 'operator'],
    ['vera', 'viewer'],
    ['adam', 'admin'],
  ])
    await stack.admin('POST', '/v1/operators', { name, role });
  const hook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
  await stack.admin('POST', '/v1/webhooks', { url: `${hook}/ledger` });
  await stack.admin('POST', '/v1/webhooks', {
    url: `${hook}/gone`,
    types: ['device.*'],
    devices: ['oslo-meter', 'cellar-sensor'],
  });
  const { body } = await stack.admin('GET', '/v1/devices?limit=100');
  devices = (body as { devices: typeof devices }).devices;
  const until = Date.now() + seconds * 1_000;
  for (let round = 0; Date.now() < until; round += 1) {
    for (const [at, { endpoints }] of devices.entries()) {
      const wave = 1 + Math.sin(round / 6 + at) + (at === 0 ? 1.5 : 0);
      if (Math.random() * 3 > wave) continue;
      for (const { url, public_port } of endpoints) {
        if (url === undefined) await tcpVisitor(public_port, 'hello');
        else {
          const path = ['/', '/status/200', '/bytes/40000', '/headers'][round % 4] ?? '/';
          const answer = await request(new URL(path, stack.info.edge), { headers: { host: new URL(url).host } });
          await answer.body.dump();
        }
      }
    }
    await new Promise((done) => setTimeout(done, 250));
  }
  await agents[4]?.stop();
  await agents[9]?.stop();

  for (const [suffix, dark] of [
    ['', false],
    ['-dark', true],
  ] as const) {
    const page = await scene.page({ dark });
    await page.goto(`${stack.info.admin}/login`);
    await page.getByLabel('Operator token').waitFor();
    if (!dark) await shoot(page, 'login');
    await logIn(page, stack);
    await page.getByRole('link', { name: 'berlin-pump-1' }).first().waitFor();
    await page.waitForTimeout(1_500);
    await shoot(page, `fleet${suffix}`);
    await page.goto(`${stack.info.admin}/devices/berlin-pump-1`);
    await page.getByRole('button', { name: 'Trace' }).click();
    await page.getByTestId('verdict').waitFor();
    await page.waitForTimeout(1_000);
    await shoot(page, `device${suffix}`);
    await page.goto(`${stack.info.admin}/settings/webhooks`);
    await page.getByRole('cell', { name: 'device.disconnected' }).first().waitFor();
    await shoot(page, `webhooks${suffix}`);
    const phone = await scene.page({ dark, width: 390, height: 844 });
    await logIn(phone, stack);
    await phone.getByRole('link', { name: 'berlin-pump-1' }).first().waitFor();
    await phone.waitForTimeout(1_000);
    if (dark) {
      await phone.goto(`${stack.info.admin}/events`);
      await phone.getByText('Live tail').waitFor();
      await phone.waitForTimeout(1_500);
      await visitSome();
      await phone.getByText('visitor.request').first().waitFor();
      await shoot(phone, 'phone-dark');
      continue;
    }
    await shoot(phone, 'phone');
    await phone.goto(`${stack.info.admin}/devices/berlin-pump-1`);
    await phone.getByTestId('access').waitFor();
    await phone.waitForTimeout(1_000);
    await shoot(phone, 'phone-device');
    await page.goto(`${stack.info.admin}/settings/keys`);
    await page.getByRole('cell', { name: 'site=lyon' }).waitFor();
    await shoot(page, 'keys');
    await page.goto(`${stack.info.admin}/settings/operators`);
    await page.getByRole('cell', { name: 'olga' }).first().waitFor();
    await shoot(page, 'operators');
    await page.goto(`${stack.info.admin}/instances`);
    await page.getByRole('heading', { name: 'tcp-listener' }).waitFor();
    await shoot(page, 'instances');
    await page.goto(`${stack.info.admin}/events`);
    await page.getByText('Live tail').waitFor();
    await page.waitForTimeout(500);
    await visitSome();
    await agents[2]?.stop();
    await page.waitForTimeout(1_500);
    await shoot(page, 'events');
    await page.goto(`${stack.info.admin}/audit`);
    await page.getByRole('cell', { name: 'device.revoke' }).waitFor();
    await shoot(page, 'audit');
  }
  console.log(`pictures in ${out}`);
  for (const fault of scene.faults) console.log(fault);
} finally {
  await scene.stop();
  receiver.close();
}

async function visitSome(): Promise<void> {
  for (const { endpoints } of devices.slice(0, 5)) {
    for (const { url } of endpoints) {
      if (url === undefined) continue;
      const answer = await request(stack.info.edge, { headers: { host: new URL(url).host } });
      await answer.body.dump();
    }
  }
}

async function shoot(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: join(out, `${name}.png`), animations: 'disabled' });
}
