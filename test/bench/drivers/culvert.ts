import { builtAgent } from '../../../agent/native/test/build.ts';
import { installSystemPackages } from '../../../deploy/local/bin/system.mjs';
import { type RunningAgent, type Stack, startStack } from '../../harness/system.ts';
import { childPids, published, UNBOUNDED } from '../processes.ts';
import type { Driver } from './driver.ts';
import { startHop } from './hops/pair.ts';

async function nativeAgent(): Promise<string> {
  await installSystemPackages(['native']);
  return builtAgent();
}

/** The real stack of `npm start` and one real agent a listener; visitors come by public port, or by name at the edge. */
const culvertWith = (name: string, { listeners = 1, direct = false, tls = false, far = false, native = false } = {}): Driver => ({
  name,
  unavailable: async () => undefined,
  start: async (originPort) => {
    const program = native ? { program: [await nativeAgent()] } : {};
    const stack = await startStack({
      tls,
      env: { ...UNBOUNDED, CULVERT_REPLICAS: `tcp-listener=${listeners}`, ...(direct ? await published(tls) : {}) },
    });
    try {
      const agents: RunningAgent[] = [];
      for (let index = 1; index <= listeners; index += 1) {
        const device = `bench-${index}`;
        const mappings = [`tcp:9=127.0.0.1:${originPort}`, `http:80=127.0.0.1:${originPort}`];
        agents.push(await stack.runAgent({ name: device, token: await stack.addDevice(device), mappings, ...program }));
      }
      const classic = await stack.runAgent({
        name: 'classic',
        token: await stack.addDevice('classic'),
        mappings: [`tcp:9=127.0.0.1:${originPort}`],
        args: ['--warm', '0'],
        ...program,
      });
      const away = far ? await farAway(stack, originPort) : { agents: [], ways: {}, stop: () => {} };
      const { host } = new URL(agents[0]?.endpoint(80).url ?? '');
      return {
        ports: agents.map((agent) => agent.endpoint(9).public_port),
        parts: {
          listener: stack.info.services.filter((service) => service.name === 'tcp-listener').map(({ pid }) => pid),
          agent: agents.map(({ pid }) => pid),
          edge: childPids(stack.info.nginx.pid),
        },
        ways: { 'dialled, not warm': classic.endpoint(9).public_port, ...away.ways },
        ...(tls ? {} : { http: { port: Number(new URL(stack.info.edge).port), host } }),
        version: 'this checkout',
        stop: async () => {
          for (const agent of [...agents, classic, ...away.agents]) await agent.stop();
          away.stop();
          await stack.stop();
        },
      };
    } catch (error) {
      await stack.stop();
      throw error;
    }
  },
});

/** Half of the round trip of a device that is far away. */
const FAR_MS = 10;

/** Devices behind a link of 20 ms round trip, and the origin behind such a link for comparison. */
async function farAway(
  stack: Stack,
  originPort: number,
): Promise<{ agents: RunningAgent[]; ways: Record<string, number>; stop(): void }> {
  const link = await startHop('./delay-hop.ts', new URL(stack.info.edge).port, FAR_MS);
  const plain = await startHop('./delay-hop.ts', originPort, FAR_MS);
  const start = async (name: string, args: string[]): Promise<RunningAgent> => {
    const mappings = [`tcp:9=127.0.0.1:${originPort}`];
    const server = `http://127.0.0.1:${link.port}`;
    const agent = stack.spawnAgent({ server, name, token: await stack.addDevice(name), mappings, args });
    await agent.event('ready', 30_000);
    return agent;
  };
  const warm = await start('far-warm', []);
  const dialled = await start('far-dialled', ['--warm', '0']);
  return {
    agents: [warm, dialled],
    ways: {
      'device 20 ms away, warm': warm.endpoint(9).public_port,
      'device 20 ms away, dialled': dialled.endpoint(9).public_port,
      'target itself 20 ms away': plain.port,
    },
    stop: () => {
      link.child.disconnect();
      plain.child.disconnect();
    },
  };
}

export const culvert = culvertWith('Culvert', { far: true });
/** The listener is published: agents dial their transfers there, past the edge. */
export const culvertDirect = culvertWith('Culvert, direct transfers', { direct: true });
/** The edge ends the TLS of the agent's connections. */
export const culvertTls = culvertWith('Culvert, TLS', { tls: true });
/** The listener is published, and ends the TLS of transfers itself. */
export const culvertTlsDirect = culvertWith('Culvert, TLS, direct transfers', { tls: true, direct: true });
/** The same stack with the agent in C. */
export const culvertNative = culvertWith('Culvert, agent in C', { native: true });
/** What `CULVERT_REPLICAS` brings: two listeners, and a device on each. */
export const culvertReplicas = culvertWith('Culvert, two listeners', { listeners: 2 });
