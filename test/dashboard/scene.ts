import { existsSync } from 'node:fs';
import { type Agent, createAgent, parseMapping } from '@culvert/agent';
import { type Browser, chromium, type Page } from 'playwright-core';
import { buildDashboard } from '../../dashboard/build.ts';
import { type Stack, type StackOptions, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';

/** A stack with its dashboard, a browser, and devices that are agents of this very process. */
export interface Scene {
  stack: Stack;
  browser: Browser;
  /** Starts a device with a page and an echo; resolves when it is connected. */
  device(name: string, ports?: readonly string[]): Promise<Agent>;
  /** A page of a browser that nobody is logged in to; what is wrong in it is added to `faults`. */
  page(options?: PageOptions): Promise<Page>;
  /** What pages said to the console as errors, threw, or asked in vain. */
  faults: string[];
  stop(): Promise<void>;
}

export interface PageOptions {
  dark?: boolean;
  width?: number;
  height?: number;
}

const CHROMIUMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const READY_MS = 30_000;

export async function startScene(options: StackOptions = {}): Promise<Scene> {
  const executablePath = CHROMIUMS.find((path) => existsSync(path));
  if (executablePath === undefined) throw new Error('no Chromium found; install the package chromium');
  await buildDashboard();
  const faults: string[] = [];
  const targets: Target[] = await Promise.all([startWebTarget(), startTcpTarget(echo)]);
  const agents = new Set<Agent>();
  const stack = await startStack(options);
  const browser = await chromium.launch({
    executablePath,
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking'],
      '--host-resolver-rules=MAP *.culvert.localhost 127.0.0.1',
    ],
  });
  const [web, tcp] = targets.map(({ port }) => port);
  return {
    stack,
    browser,
    faults,
    device: async (name, ports = [`80=127.0.0.1:${web}`, `tcp:7=127.0.0.1:${tcp}`]) => {
      const token = await stack.addDevice(name);
      const mappings = ports.map((text) => {
        const parsed = parseMapping(text);
        if (!parsed.ok) throw new Error(`${text}: ${parsed.fault}`);
        return parsed.mapping;
      });
      const agent = createAgent({ servers: [stack.info.edge], name, token, mappings, warm: 2 });
      agents.add(agent);
      const ready = Promise.withResolvers<void>();
      agent.once('ready', () => ready.resolve());
      const late = setTimeout(() => ready.reject(new Error(`${name} is not ready after ${READY_MS} ms`)), READY_MS);
      void agent.run();
      await ready.promise.finally(() => clearTimeout(late));
      return agent;
    },
    page: async ({ dark = false, width = 1280, height = 800 } = {}) => {
      const context = await browser.newContext({
        viewport: { width, height },
        colorScheme: dark ? 'dark' : 'light',
        reducedMotion: 'reduce',
        locale: 'en-GB',
      });
      const page = await context.newPage();
      page.setDefaultTimeout(60_000);
      page.on('pageerror', (error) => faults.push(`thrown: ${error}`));
      page.on('console', (message) => {
        if (message.type() === 'error' || message.type() === 'warning') faults.push(`${message.type()}: ${message.text()}`);
      });
      return page;
    },
    stop: async () => {
      await browser.close();
      for (const agent of agents) agent.abort();
      await stack.stop();
      await Promise.all(targets.map((target) => target.close()));
    },
  };
}

/** Logs in as people do. */
export async function logIn(page: Page, { info }: Stack, token = info.adminToken): Promise<void> {
  await page.goto(`${info.admin}/`);
  await page.getByLabel('Operator token').fill(token);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('heading', { name: 'Fleet', level: 1 }).waitFor();
}
