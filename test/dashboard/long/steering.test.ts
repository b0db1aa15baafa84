import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { barriers } from '../axe.ts';
import { logIn, type Scene, startScene } from '../scene.ts';

// A busy machine takes its time to lay a page out.
vi.setConfig({ testTimeout: 180_000 });

let scene: Scene;
let page: Page;
let url: (path: string) => string;
let receiver: Server;
/** What the receiver answers; what it was sent. */
let status = 200;
const received: { id: string; type: string }[] = [];

beforeAll(async () => {
  receiver = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on('end', () => {
      received.push({ id: String(request.headers['webhook-id']), type: (JSON.parse(body) as { type: string }).type });
      response.writeHead(status).end();
    });
  });
  await new Promise<void>((done) => receiver.listen(0, '127.0.0.1', done));
  scene = await startScene({
    env: {
      ...{ CULVERT_GRACE: '1h', CULVERT_WEBHOOK_PRIVATE: '1' },
      ...{ CULVERT_LIMIT_WEBHOOK_RETRY_MS: '50', CULVERT_LIMIT_WEBHOOK_EVENT_MS: '400' },
    },
  });
  url = (path) => `${scene.stack.info.admin}${path}`;
  await scene.device('alice');
  page = await scene.page();
  await logIn(page, scene.stack);
}, 150_000);
afterAll(async () => {
  await scene?.stop();
  receiver?.close();
});

const button = (name: string | RegExp) => page.getByRole('button', { name });
const field = (name: string) => page.getByRole('dialog').getByLabel(name);
const read = async (path: string): Promise<unknown> => (await scene.stack.admin('GET', path)).body;

/** The dialog that is open is for everybody, and is left by its button. */
async function submit(name: string): Promise<void> {
  expect(await barriers(page)).toEqual([]);
  await page.getByRole('dialog').getByRole('button', { name, exact: true }).click();
}
async function shownOnce(label: string): Promise<string> {
  const text = await page.getByRole('dialog').getByLabel(label, { exact: true }).inputValue();
  await page.getByRole('button', { name: 'Close' }).click();
  return text;
}

describe('the device page', () => {
  it('changes labels and notes', async () => {
    await page.goto(url('/devices/alice'));
    await button('Labels and notes').click();
    await field('Labels').fill('site=berlin\nkind=pump');
    await field('Notes').fill('behind the boiler');
    await submit('Save');
    await page.locator('.labels').getByText('site=berlin').waitFor();
    await button('Labels and notes').click();
    await field('Labels').fill('site');
    await submit('Save');
    await page.getByRole('alert').getByText('site is no label').waitFor();
    await field('Labels').fill('site=oslo');
    await submit('Save');
    await page.locator('.labels').getByText('kind=pump').waitFor({ state: 'detached' });
    expect(await read('/v1/devices/alice')).toMatchObject({ labels: { site: 'oslo' }, notes: 'behind the boiler' });
  });

  it('renames a host, which is reserved from then on, and gives it back', async () => {
    await button('Rename the host of port 80').click();
    await field('Host name').fill('shop');
    await submit('Reserve');
    await page.getByRole('link', { name: /^http:\/\/shop\./ }).waitFor();
    await page.getByText('reserved for ever').waitFor();
    expect(await read('/v1/devices/alice/hosts')).toEqual({ hosts: [{ port: 80, label: 'shop' }] });
    await button('Give shop back').click();
    await page.getByRole('alertdialog').getByRole('button', { name: 'Give back' }).click();
    await page.getByText('reserved for ever').waitFor({ state: 'detached' });
  });

  it('changes the policy, and says which rule is wrong', async () => {
    await button('Change the policy').click();
    await field('Cap, bytes a day').fill('much');
    await submit('Save');
    await page.getByRole('alert').getByText('Cap is much; expected a size').waitFor();
    await field('Cap, bytes a day').fill('1 GiB');
    await field('Visitors at once').fill('50');
    await field('Who may visit a tcp port').fill('7: 127.0.0.0/8, ::1');
    await submit('Save');
    await page.getByText('Cut off at 1.0 GiB.').waitFor(); // the card of its data knows it, too
    expect(await read('/v1/devices/alice/policy')).toEqual({
      ...{ visitors: 50, day_bytes_cap: 1024 ** 3, allow: [{ port: 7, from: ['127.0.0.0/8', '::1'] }] },
    });
    await button('Change the policy').click();
    expect(await field('Cap, bytes a day').inputValue()).toBe('1.0 GiB');
    for (const name of ['Cap, bytes a day', 'Visitors at once', 'Who may visit a tcp port']) await field(name).fill('');
    await submit('Save');
    await page.getByText('No rules of its own').waitFor();
  });

  it('makes a new token, good at once', async () => {
    await button('New token').click();
    await page.getByRole('alertdialog').getByRole('button', { name: 'Make it' }).click();
    expect(await shownOnce('Token')).toMatch(/^cvd_/);
  });
});

describe('the settings', () => {
  it('make and withdraw enrolment keys', async () => {
    await page.goto(url('/settings'));
    await page.getByText('No enrolment keys').waitFor();
    await button('Make a key').click();
    await field('Devices that may enrol with it').fill('25');
    await field('Labels its devices get').fill('site=lyon');
    await submit('Make');
    expect(await shownOnce('Enrolment key')).toMatch(/^cve_/);
    await page.getByRole('cell', { name: '25', exact: true }).waitFor();
    await page.getByRole('cell', { name: 'site=lyon' }).waitFor();
    await button(/^Withdraw key/).click();
    await page.getByRole('alertdialog').getByRole('button', { name: 'Withdraw' }).click();
    await page.getByText('No enrolment keys').waitFor();
    expect(await read('/v1/enrolment-keys')).toMatchObject({ keys: [] });
  });

  it('add a webhook, ping it, show what was given up and why, and send it again', async () => {
    await page.getByRole('link', { name: 'Webhooks' }).click();
    await button('Add webhook').click();
    await field('URL').fill(`http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`);
    await field('Events').fill('lease.*, device.connected');
    await submit('Add');
    expect(await shownOnce('Signing secret')).toMatch(/^whsec_/);
    await button('Ping').click();
    await page.getByText('The ping was taken').waitFor();
    expect(received.map(({ type }) => type)).toEqual(['webhook.ping']);
    status = 500;
    await scene.device('bob');
    await page.getByRole('cell', { name: 'device.connected' }).waitFor();
    await page.getByRole('cell', { name: /500/ }).first().waitFor();
    const failed = new Set(received.map(({ id }) => id));
    status = 200;
    received.length = 0;
    await button('Send again').click();
    await page.getByRole('cell', { name: 'device.connected' }).waitFor({ state: 'detached' });
    expect(received.length).toBeGreaterThan(0);
    for (const { id } of received) expect(failed).toContain(id);
    await button('Remove').click();
    await page.getByRole('alertdialog').getByRole('button', { name: 'Remove' }).click();
    await page.getByText('No webhooks').waitFor();
  });

  it('add an operator, who logs in, gets a new token, and is removed', async () => {
    await page.getByRole('link', { name: 'Operators' }).click();
    await page.getByText('There is only root').waitFor();
    await button('Add operator').click();
    await field('Name').fill('olga');
    await field('Role').selectOption('operator');
    await submit('Add');
    const token = await shownOnce('Operator token');
    const other = await scene.page();
    await logIn(other, scene.stack, token);
    await other.getByRole('button', { name: 'Add device' }).waitFor();
    await other.goto(url('/settings/operators'));
    await other.getByText('Operators are changed by admins').waitFor();
    expect(await other.getByRole('link', { name: 'Operators' }).count()).toBe(0);
    await other.getByRole('link', { name: 'Webhooks' }).click();
    await other.getByText('No webhooks').waitFor();
    expect(await other.getByRole('button', { name: 'Add webhook' }).count()).toBe(0);
    await other.context().close();
    await button('New token for olga').click();
    await page.getByRole('alertdialog').getByRole('button', { name: 'New token' }).click();
    expect(await shownOnce('Operator token')).not.toBe(token);
    await button('Remove olga').click();
    await page.getByRole('alertdialog').getByRole('button', { name: 'Remove' }).click();
    await page.getByText('There is only root').waitFor();
    expect(await read('/v1/operators')).toEqual({ operators: [] });
  });

  it('let everybody set a password, which logs them in', async () => {
    const { body } = await scene.stack.admin('POST', '/v1/operators', { name: 'paula', role: 'viewer' });
    const other = await scene.page();
    await logIn(other, scene.stack, (body as { token: string }).token);
    await other.goto(url('/settings/password'));
    await other.getByLabel('New password').fill('correct horse battery');
    await other.getByLabel('Once more').fill('correct horse batteri');
    await other.getByRole('button', { name: 'Set password' }).click();
    await other.getByRole('alert').getByText('typed in two ways').waitFor();
    await other.getByLabel('Once more').fill('correct horse battery');
    expect(await barriers(other)).toEqual([]);
    await other.getByRole('button', { name: 'Set password' }).click();
    await other.getByText('Your password is set').waitFor();
    await other.getByRole('button', { name: 'Log out' }).click();
    await other.getByRole('button', { name: 'By name and password instead' }).click();
    await other.getByLabel('Name').fill('paula');
    await other.getByLabel('Password', { exact: true }).fill('correct horse battery');
    expect(await barriers(other)).toEqual([]);
    await other.getByRole('button', { name: 'Log in' }).click();
    await other.getByText('paula').first().waitFor();
    await other.context().close();
  });

  it('show a viewer nothing that would be refused', async () => {
    const { body } = await scene.stack.admin('POST', '/v1/operators', { name: 'vera', role: 'viewer' });
    const viewer = await scene.page();
    await logIn(viewer, scene.stack, (body as { token: string }).token);
    await viewer.goto(url('/settings'));
    await viewer.getByText('No enrolment keys').waitFor();
    for (const name of ['Make a key', /Withdraw/]) expect(await viewer.getByRole('button', { name }).count()).toBe(0);
    for (const name of ['Webhooks', 'Operators']) expect(await viewer.getByRole('link', { name }).count()).toBe(0);
    await viewer.goto(url('/settings/webhooks'));
    await viewer.getByText('Webhooks are for operators').waitFor();
    await viewer.goto(url('/devices/alice'));
    await viewer.getByText('No rules of its own').waitFor();
    for (const name of ['Labels and notes', 'Change the policy', 'Reserve a name', 'New token', /Rename/])
      expect(await viewer.getByRole('button', { name }).count()).toBe(0);
    await viewer.context().close();
  });

  it('say nothing to the console', () => expect(scene.faults).toEqual([]));
});
