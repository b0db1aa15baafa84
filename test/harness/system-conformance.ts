import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl, tcpVisitor, until } from '../e2e/support.ts';
import type { Part, System } from './client.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from './targets.ts';

const STACK_MS = 600_000;
const WAIT_MS = 180_000;
/** Parts that stop do not wait long for connections that stay. */
export const LIMITS = { CULVERT_LIMIT_WIND_DOWN_MS: '5s' };

/** What every maker of a system must do: a test that keeps to `System` runs on any of them. */
export function describeSystem<S extends System>(
  name: string,
  start: () => Promise<S>,
  more: (system: () => S) => void = () => {},
): void {
  describe(`a system of ${name}`, { timeout: 900_000 }, () => {
    let system: S;
    let web: Target;
    let tcp: Target;
    const tokens: Record<string, string> = {};
    const device = async (name: string) => {
      tokens[name] ??= await system.addDevice(name);
      const mappings = [`80=127.0.0.1:${web.port}`, `tcp:22=127.0.0.1:${tcp.port}`];
      const agent = system.spawnAgent({ name, token: tokens[name], mappings });
      await agent.event('ready', WAIT_MS);
      return agent;
    };

    /** While the edge itself is being started again nothing answers. */
    const answers = (host: string, status: number): Promise<true | undefined> =>
      system.fetchHost(host).then(
        (answer) => (answer.status === status ? true : undefined),
        () => undefined,
      );

    beforeAll(async () => {
      system = await start();
      web = await startWebTarget();
      tcp = await startTcpTarget(echo);
    }, STACK_MS);
    afterAll(async () => {
      await system?.stop();
      await web?.close();
      await tcp?.close();
    }, STACK_MS);

    it('says where it is, and speaks TLS that its own authority vouches for', async () => {
      expect(system.info.edge).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
      expect(system.ca).toContain('BEGIN CERTIFICATE');
      expect((await system.fetchHost(`nobody.${system.info.domain}`)).status).toBe(404);
      expect((await system.admin('GET', '/v1/devices')).status).toBe(200);
    });

    it('has the dashboard in admin, with what its page asks for', async () => {
      const page = await system.dashboard('/');
      expect(page).toMatchObject({ status: 200, type: expect.stringContaining('text/html') });
      const assets = [...page.body.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map(([, path]) => path as string);
      expect(assets.length).toBeGreaterThan(0);
      for (const path of assets) expect((await system.dashboard(path)).status, path).toBe(200);
    });

    it('serves a device by name and by port, and tells of it on the bus', async () => {
      const events = await system.events('device.connected.alice');
      const agent = await device('alice');
      expect((await events.next()).data).toMatchObject({ epoch: agent.ready.epoch });
      await events.close();
      const url = new URL(agent.endpoint(80).url as string);
      expect(url.protocol).toBe('https:');
      const page = await curl(system.info.edge, url.hostname, '/', '--insecure');
      expect(page.stdout).toContain(`hello from ${url.hostname}`);
      expect((await tcpVisitor(agent.endpoint(22).public_port as number, 'ping')).data.toString()).toBe('ping');
      expect((await system.storedEvents('CULVERT_EVENTS', 'device.connected.alice')).length).toBeGreaterThan(0);
      await agent.stop();
    });

    it('keeps names and ports over the restart and the crash of every part', async () => {
      const agent = await device('bob');
      const host = new URL(agent.endpoint(80).url as string).hostname;
      const port = agent.endpoint(22).public_port as number;
      const parts: [Part, 'SIGTERM' | 'SIGKILL'][] = [
        ...(['admin', 'port-allocator', 'lease-manager', 'ws-ingress', 'tcp-listener', 'edge'] as const).map(
          (part): [Part, 'SIGTERM'] => [part, 'SIGTERM'],
        ),
        ...(['redis', 'nats', 'tcp-listener'] as const).map((part): [Part, 'SIGKILL'] => [part, 'SIGKILL']),
      ];
      for (const [part, signal] of parts) {
        await system.restartPart(part, signal);
        const what = `after ${signal} of ${part}`;
        await until(`the page ${what}`, () => answers(host, 200), WAIT_MS);
        const pings = async () => (await tcpVisitor(port, 'ping')).data.toString() === 'ping' || undefined;
        await until(`the tcp port ${what}`, pings, WAIT_MS);
      }
      expect(new URL(agent.endpoint(80).url as string).hostname).toBe(host);
      expect(agent.endpoint(22).public_port).toBe(port);
      await agent.stop();
    });

    it('shows the page of an offline device to visitors, and takes it back under its name', async () => {
      const agent = await device('carol');
      const host = new URL(agent.endpoint(80).url as string).hostname;
      await agent.kill();
      await until('the offline page', () => answers(host, 503), WAIT_MS);
      const again = await device('carol');
      expect(new URL(again.endpoint(80).url as string).hostname).toBe(host);
      await until('the page', () => answers(host, 200), WAIT_MS);
      await again.stop();
    });

    more(() => system);
  });
}
