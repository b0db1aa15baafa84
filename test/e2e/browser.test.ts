import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Stack, startStack } from '../harness/system.ts';
import { until } from './support.ts';

let stack: Stack;
let browser: Browser;
let profile: string;

beforeAll(async () => {
  const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
    existsSync(path),
  );
  if (executablePath === undefined) throw new Error('no Chromium found; install the package chromium');
  profile = await mkdtemp(join(tmpdir(), 'culvert-browser-'));
  stack = await startStack({ env: { CULVERT_DEMO: '1' } });
  browser = await chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--disable-background-networking',
      '--host-resolver-rules=MAP *.culvert.localhost 127.0.0.1',
    ],
  });
});
afterAll(async () => {
  await browser?.close();
  await stack?.stop();
  await rm(profile, { recursive: true, force: true });
});

describe('the person at home', () => {
  it('opens the demo by its name, and sees a proper page when the device is away', async () => {
    const page = await browser.newPage();
    const faults: string[] = [];
    page.on('pageerror', (error) => faults.push(String(error)));
    const demo = stack.info.demo as string;
    const answer = await page.goto(demo);
    expect(answer?.status()).toBe(200);
    expect(await page.title()).not.toBe('');
    expect(faults).toEqual([]);

    const unknown = await page.goto(demo.replace(/\/\/[^.]+/, '//no-such-device'));
    expect(unknown?.status()).toBe(404);

    await stack.culvert('device', 'revoke', 'demo');
    const gone = await until('the page of a device that is gone', async () => {
      const reply = await page.goto(demo);
      return reply !== null && reply.status() !== 200 ? reply.status() : undefined;
    });
    expect([404, 503]).toContain(gone);
    expect(await page.locator('h1').count()).toBe(1);
    expect(await page.locator('html').getAttribute('lang')).toBe('en');
  });
});
