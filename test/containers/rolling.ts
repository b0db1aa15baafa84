import { expect } from 'vitest';
import { tcpVisitor, until } from '../e2e/support.ts';
import type { RunningAgent } from '../harness/agent.ts';
import type { ContainerSystem } from '../harness/containers.ts';
import { echo, startTcpTarget, startWebTarget } from '../harness/targets.ts';
import { commandsOf, runBlock } from '../operating/manual.ts';
import { Pages } from '../upgrade/pages.ts';

const commands = commandsOf('deploy/compose/README.md');
const ROLL_MS = 900_000;
const WAIT_MS = 180_000;
const ROLLED = ['lease-manager', 'port-allocator', 'tcp-listener', 'tcp-listener-2', 'ws-ingress', 'admin'];

/** Replaces every container but that of the edge by the commands of the page, while visitors count each request. */
export async function rollAll(system: ContainerSystem): Promise<void> {
  expect([...commands.keys()]).toEqual(['scale', 'roll']); // every command of the page that is marked to be run
  const [web, tcp] = await Promise.all([startWebTarget(), startTcpTarget(echo)]);
  const pages = new Pages(system.info.edge, system.ca);
  const agents: RunningAgent[] = [];
  const hostOf = (agent: RunningAgent): string => new URL(agent.endpoint(80).url as string).host;
  const connect = async (name: string, mappings: string[]): Promise<void> => {
    const agent = system.spawnAgent({ name, token: await system.addDevice(name), mappings });
    await agent.event('ready', WAIT_MS);
    agents.push(agent);
  };
  const served = async (): Promise<void> => {
    for (const agent of agents) {
      const page = async () =>
        (await system.fetchHost(new URL(`https://${hostOf(agent)}`).hostname)).status === 200 ? true : undefined;
      await until(`the page of ${agent.ready.name}`, page, WAIT_MS);
      const port = agent.endpoints().find(({ scheme }) => scheme === 'tcp')?.public_port;
      const echoed = async () => ((await tcpVisitor(port ?? 0, 'ping')).data.toString() === 'ping' ? true : undefined);
      if (port !== undefined) await until(`the port of ${agent.ready.name}`, echoed, WAIT_MS);
    }
  };
  const containers = async (): Promise<string[]> => (await Promise.all(ROLLED.map((one) => system.idsOf(one)))).flat();
  try {
    const http = `80=127.0.0.1:${web.port}`;
    const both = [http, `tcp:7=127.0.0.1:${tcp.port}`];
    await connect('first', both); // the only listener has it
    await runBlock(commands.get('scale'), system.shell, undefined, ROLL_MS);
    await until(
      'the second listener is there',
      async () => {
        const { body } = await system.admin('GET', '/v1/instances');
        const { instances } = body as { instances: { id: string; ports: { free: number | null } | null }[] };
        return instances.some(({ id, ports }) => id === 'tcp-listener-2' && (ports?.free ?? 0) > 0) ? true : undefined;
      },
      WAIT_MS,
    );
    await connect('second', both);
    await connect('names', [http]);
    await served();
    const before = await containers();
    expect(before).toHaveLength(9);
    const places = agents.map((agent) =>
      agent.endpoints().map(({ url, scheme, public_port }) => (scheme === 'tcp' ? public_port : url)),
    );
    for (const agent of agents) pages.visit(hostOf(agent));
    await until('visitors are served', () => (pages.served > 20 ? true : undefined), WAIT_MS);

    const startedAt = performance.now();
    await runBlock(commands.get('roll'), system.shell, undefined, ROLL_MS);
    const seconds = Math.round((performance.now() - startedAt) / 1_000);
    const { served: since } = pages;
    await until('visitors are served by the new ones', () => (pages.served > since + 50 ? true : undefined), WAIT_MS);
    await pages.stop();
    console.log(`${pages.served} requests while 9 containers were replaced in ${seconds} s, ${pages.faults.length} failed`);
    expect(pages.faults).toEqual([]);
    const after = await containers();
    expect(after).toHaveLength(before.length);
    expect(after.filter((id) => before.includes(id))).toEqual([]);
    await served();
    expect(
      agents.map((agent) => agent.endpoints().map(({ url, scheme, public_port }) => (scheme === 'tcp' ? public_port : url))),
    ).toEqual(places);
    await until(
      'the API is back',
      async () => ((await system.admin('GET', '/v1/devices').catch(() => ({ status: 0 }))).status === 200 ? true : undefined),
      WAIT_MS,
    );
  } finally {
    await pages.stop();
    for (const agent of agents) await agent.kill();
    await Promise.all([web.close(), tcp.close()]);
  }
}
