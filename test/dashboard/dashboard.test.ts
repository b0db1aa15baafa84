import type { Agent } from '@culvert/agent';
import type { Page } from 'playwright-core';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { tcpVisitor } from '../e2e/support.ts';
import { barriers } from './axe.ts';
import { logIn, type Scene, startScene } from './scene.ts';

// A busy machine takes its time to lay a page out.
vi.setConfig({ testTimeout: 180_000 });

let scene: Scene;
let page: Page;
let bob: Agent;
let url: (path: string) => string;

beforeAll(async () => {
  scene = await startScene({ env: { CULVERT_GRACE: '1h', CULVERT_REPLICAS: 'tcp-listener=2' } });
  url = (path) => `${scene.stack.info.admin}${path}`;
  [, bob] = (await Promise.all([scene.device('alice'), scene.device('bob')])) as [Agent, Agent];
  page = await scene.page();
  await logIn(page, scene.stack);
}, 150_000);
afterAll(() => scene?.stop());

async function visit(name: string, path = '/'): Promise<void> {
  const { body } = await scene.stack.admin('GET', `/v1/devices/${name}`);
  const [page80, echo] = (body as { endpoints: { url?: string; public_port: number }[] }).endpoints;
  const answer = await request(new URL(path, scene.stack.info.edge), { headers: { host: new URL(page80?.url ?? '').host } });
  await answer.body.dump();
  await tcpVisitor(echo?.public_port ?? 0, 'hello');
}

const heading = (name: string, on = page) => on.getByRole('heading', { name, level: 1 });
const row = (name: string, on = page) => on.getByRole('row').filter({ has: on.getByRole('link', { name, exact: true }) });

describe('the dashboard', () => {
  it('wants a login, says when the token is wrong, and keeps no token in the page', async () => {
    const stranger = await scene.page();
    await stranger.goto(url('/events'));
    await stranger.getByLabel('Operator token').fill('not-a-token-of-anybody');
    await stranger.getByRole('button', { name: 'Log in' }).click();
    await stranger.getByRole('alert').getByText('This token is wrong').waitFor();
    // A refusal is an error to the browser's console, and the only one that is allowed for.
    expect(scene.faults.splice(0).filter((fault) => !fault.includes('401'))).toEqual([]);
    await stranger.getByLabel('Operator token').fill(scene.stack.info.adminToken);
    await stranger.getByRole('button', { name: 'Log in' }).click();
    await heading('Events', stranger).waitFor(); // where they wanted to go
    expect(
      await stranger.evaluate('JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }])'),
    ).not.toContain(scene.stack.info.adminToken);
    await stranger.getByRole('button', { name: 'Log out' }).click();
    await stranger.getByLabel('Operator token').waitFor();
    await stranger.context().close();
  });

  it('is served with a strict policy, and its assets for ever', async () => {
    const answer = await fetch(url('/devices/alice'));
    expect(answer.headers.get('content-security-policy')).toContain("script-src 'self'; style-src 'self'");
    expect(answer.headers.get('content-security-policy')).not.toContain('unsafe');
    const script = /src="(\/assets\/[^"]+\.js)"/.exec(await answer.text())?.[1] ?? '';
    const asset = await fetch(url(script), { headers: { 'accept-encoding': 'br' } });
    expect(asset.headers.get('cache-control')).toContain('immutable');
    expect(asset.headers.get('content-encoding')).toBe('br');
  });

  it('shows the fleet, and what changes in it without a reload', async () => {
    await heading('Fleet').waitFor();
    await row('alice').getByText('Connected').waitFor();
    await page.evaluate('window.stillTheSame = true');
    await scene.stack.addDevice('carol');
    await row('carol').getByText('Offline').waitFor();
    await bob.stop();
    await row('bob').getByText('In grace').waitFor();
    await page.getByRole('button', { name: /In grace/ }).click();
    await row('alice').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: /All devices/ }).click();
    await page.getByLabel('Search devices').fill('car');
    await row('alice').waitFor({ state: 'detached' });
    await row('carol').waitFor();
    await page.getByLabel('Search devices').fill('');
    await visit('alice');
    await page.getByRole('listitem').filter({ hasText: 'alice' }).filter({ hasText: 'visits' }).waitFor();
    expect(await page.evaluate('window.stillTheSame')).toBe(true);
  });

  it('adds a device and shows its token once', async () => {
    await page.getByRole('button', { name: 'Add device' }).click();
    await page.getByLabel('Name').fill('dora');
    await page.getByRole('button', { name: 'Add', exact: true }).click();
    expect(await page.getByLabel('Token', { exact: true }).inputValue()).toMatch(/^cvd_/);
    expect(await barriers(page)).toEqual([]);
    await page.getByRole('button', { name: 'Close' }).click();
    await row('dora').waitFor();
  });

  it('shows a device: its visitors live, where it is reached, and traces it', async () => {
    await row('alice').getByRole('link', { name: 'alice' }).click();
    await heading('alice').waitFor();
    await page.getByRole('link', { name: /^http:/ }).waitFor();
    await visit('alice', '/status/204?secret=1');
    await page.getByRole('cell', { name: 'GET /status/204' }).waitFor();
    await page.getByRole('table', { name: 'TCP visitors' }).getByRole('cell', { name: 'ok' }).first().waitFor();
    await page.getByRole('button', { name: 'Trace' }).click();
    await page.getByText(/Every endpoint can be reached/).waitFor();
  });

  it('shares a device, and makes it private', async () => {
    await page.getByRole('radio', { name: 'Private' }).click();
    await page.getByTestId('access').getByText('Private').waitFor();
    await page.getByRole('button', { name: 'Share' }).click();
    await page.getByLabel('Whom it is for').fill('the plumber');
    expect(await barriers(page)).toEqual([]);
    await page.getByRole('button', { name: 'Make a link' }).click();
    const link = await page.getByLabel('Link', { exact: true }).inputValue();
    await page.getByRole('button', { name: 'Close' }).click();
    await page.getByRole('listitem').filter({ hasText: 'the plumber' }).waitFor();
    const visitor = await scene.page();
    await visitor.goto(link);
    await visitor.getByText('hello from').waitFor();
    await visitor.context().close();
    // An operator gets in by the button: the API lets this browser in.
    const [opened] = await Promise.all([page.waitForEvent('popup'), page.getByRole('link', { name: /^http:/ }).click()]);
    await opened.getByText('hello from').waitFor();
    await opened.close();
  });

  it('disconnects a device, shows its grace count down, and revokes it once its name is typed', async () => {
    await page.goto(url('/devices/bob'));
    await page
      .getByTestId('grace')
      .getByText(/min|1 h/)
      .waitFor();
    const erin = await scene.device('erin');
    await page.goto(url('/devices/erin'));
    await page.getByText('Connected').first().waitFor();
    const lost = new Promise((resolve) => erin.once('disconnected', resolve));
    await page.getByRole('button', { name: 'Disconnect' }).click();
    await page.getByRole('alertdialog').getByRole('button', { name: 'Disconnect' }).click();
    await lost;
    await page.getByRole('button', { name: 'Revoke' }).click();
    const dialog = page.getByRole('alertdialog');
    expect(await dialog.getByRole('button', { name: 'Revoke' }).isDisabled()).toBe(true);
    await dialog.getByRole('textbox').fill('erin');
    await dialog.getByRole('button', { name: 'Revoke' }).click();
    await page.getByText('Its token is dead.').waitFor();
    expect(await page.getByRole('button', { name: 'Revoke' }).count()).toBe(0);
  });

  it('follows events, filters them, and stands still when paused', async () => {
    await page.goto(url('/events'));
    await heading('Events').waitFor();
    await page.getByText('Live tail').waitFor();
    const seen = page.getByRole('button', { name: /visitor\.request alice/ });
    for (let tries = 0; tries < 20 && (await seen.count()) === 0; tries += 1) {
      await visit('alice');
      await page.waitForTimeout(300);
    }
    await seen.first().click();
    await page.locator('pre').getByText('"device": "alice"').waitFor();
    await page.getByRole('button', { name: 'Requests' }).click();
    await seen.first().waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Requests' }).click();
    await page.getByRole('button', { name: 'Pause' }).click();
    const before = await seen.count();
    await visit('alice');
    await page.getByRole('button', { name: /Go on \(\d+ new\)/ }).waitFor();
    expect(await seen.count()).toBe(before);
    await page.getByRole('button', { name: /Go on/ }).click();
    await expect.poll(() => seen.count(), { timeout: 60_000 }).toBeGreaterThan(before);
  });

  it('shows instances with their load, and winds one down', async () => {
    await page.goto(url('/instances'));
    const listener = page.getByRole('listitem').filter({ hasText: 'tcp-listener-2' });
    await listener.getByText('Live').waitFor();
    await listener.getByText('Memory').waitFor();
    await page.getByRole('button', { name: 'Wind down tcp-listener-2' }).click();
    await page.getByRole('alertdialog').getByRole('button', { name: 'Wind down' }).click();
    await page.getByText('tcp-listener-2 winds down').waitFor();
  });

  it('shows who did what', async () => {
    await page.goto(url('/audit'));
    await page.getByRole('cell', { name: 'device.revoke' }).first().waitFor();
    await page.getByLabel('Object').fill('dora');
    await page.getByRole('cell', { name: 'device.revoke' }).first().waitFor({ state: 'detached' });
    await page.getByRole('cell', { name: 'device.add' }).waitFor();
  });

  it('shows a viewer no button that would be refused', async () => {
    const { body } = await scene.stack.admin('POST', '/v1/operators', { name: 'vera', role: 'viewer' });
    const viewer = await scene.page();
    await logIn(viewer, scene.stack, (body as { token: string }).token);
    await row('alice', viewer).waitFor();
    expect(await viewer.getByRole('button', { name: 'Add device' }).count()).toBe(0);
    expect(await viewer.getByRole('link', { name: 'Audit' }).count()).toBe(0);
    await viewer.goto(url('/devices/alice'));
    await viewer.getByRole('button', { name: 'Trace' }).waitFor();
    await viewer.getByTestId('access').waitFor();
    for (const name of ['Share', 'Disconnect', 'Revoke', /Withdraw/])
      expect(await viewer.getByRole('button', { name }).count()).toBe(0);
    expect(await viewer.getByRole('radio').count()).toBe(0);
    await viewer.goto(url('/instances'));
    await viewer.getByText('admin-1').first().waitFor();
    expect(await viewer.getByRole('button', { name: /Wind down/ }).count()).toBe(0);
    await viewer.goto(url('/audit'));
    await viewer.getByText('The audit log is for admins').waitFor();
    await viewer.context().close();
  });

  it('says nothing to the console, and nothing is refused by its policy', () => {
    expect(scene.faults).toEqual([]);
  });

  it('says when the server does not answer, and comes back by itself', async () => {
    await page.goto(url('/'));
    await row('alice').waitFor();
    const { pid } = scene.stack.info.services.find(({ id }) => id === 'admin-1') ?? { pid: 0 };
    process.kill(pid, 'SIGKILL');
    await page.getByRole('status').getByText('Not live').waitFor();
    await page.getByRole('status').getByText('Live', { exact: true }).waitFor({ timeout: 60_000 });
    await scene.stack.addDevice('frank');
    await row('frank').waitFor();
  });
});
