import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { barriers } from '../axe.ts';
import { logIn, type Scene, startScene } from '../scene.ts';

const PAGES = [
  '/',
  '/devices/alice',
  '/instances',
  '/events',
  '/audit',
  '/settings/keys',
  '/settings/webhooks',
  '/settings/operators',
  '/settings/password',
];

// A busy machine takes its time to lay a page out.
vi.setConfig({ testTimeout: 180_000 });

let scene: Scene;
let page: Page;
let url: (path: string) => string;

beforeAll(async () => {
  scene = await startScene({ env: { CULVERT_GRACE: '1h' } });
  url = (path) => `${scene.stack.info.admin}${path}`;
  await scene.device('alice');
  await scene.stack.addDevice('bob');
  page = await scene.page();
  await logIn(page, scene.stack);
}, 150_000);
afterAll(() => scene?.stop());

const heading = (name: string, on = page) => on.getByRole('heading', { name, level: 1 });
const row = (name: string, on = page) => on.getByRole('row').filter({ has: on.getByRole('link', { name, exact: true }) });

describe('the dashboard', () => {
  it('goes by keyboard: skip link, shortcuts, the list', async () => {
    await page.goto(url('/'));
    await row('alice').waitFor();
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the content');
    await page.keyboard.press('Enter');
    expect(await page.evaluate('document.activeElement.id')).toBe('main');
    await page.keyboard.press('/');
    expect(await page.evaluate('document.activeElement.type')).toBe('search');
    await row('alice').getByRole('link').focus();
    expect(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')).not.toBe('none');
    await page.keyboard.press('ArrowDown');
    await expect.poll(() => page.evaluate('document.activeElement.textContent'), { timeout: 60_000 }).toBe('bob');
    await page.keyboard.press('Enter');
    await heading('bob').waitFor();
    await page.keyboard.press('g');
    await page.keyboard.press('i');
    await heading('Instances').waitFor();
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keys' }).waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
  });

  it.each([
    ['light', false],
    ['dark', true],
  ])('has no barriers that axe calls serious, in %s, on every page', async (_name, dark) => {
    const other = await scene.page({ dark });
    await other.goto(url('/'));
    await other.getByLabel('Operator token').waitFor();
    expect(await barriers(other)).toEqual([]);
    await logIn(other, scene.stack);
    for (const path of PAGES) {
      await other.goto(url(path));
      await other.getByRole('heading', { level: 1 }).waitFor();
      await other.waitForLoadState('load');
      await other.locator('.loading').first().waitFor({ state: 'detached' });
      expect([path, await barriers(other)]).toEqual([path, []]);
    }
    const background = await other.evaluate('getComputedStyle(document.documentElement).backgroundColor');
    await other.getByRole('button', { name: /Colours/ }).click(); // light
    await other.getByRole('button', { name: /Colours/ }).click(); // dark
    const afterwards = await other.evaluate('getComputedStyle(document.documentElement).backgroundColor');
    expect(afterwards === background).toBe(dark);
    await other.context().close();
  });

  it('fits a phone: no page is wider than it', async () => {
    const phone = await scene.page({ width: 360, height: 740 });
    await logIn(phone, scene.stack);
    for (const path of PAGES) {
      await phone.goto(url(path));
      await phone.getByRole('heading', { level: 1 }).waitFor();
      await phone.locator('.loading').first().waitFor({ state: 'detached' });
      expect([path, await phone.evaluate('document.documentElement.scrollWidth')]).toEqual([path, 360]);
    }
    expect(await barriers(phone)).toEqual([]);
    await phone.context().close();
  });
});
