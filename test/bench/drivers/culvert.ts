import { type RunningAgent, startStack } from '../../harness/system.ts';
import { childPids, published } from '../processes.ts';
import type { Driver } from './driver.ts';

/** The real stack of `npm start` and one real agent a listener; visitors come by public port, or by name at the edge. */
const culvertWith = (name: string, { listeners = 1, direct = false } = {}): Driver => ({
  name,
  unavailable: async () => undefined,
  start: async (originPort) => {
    const stack = await startStack({
      env: { CULVERT_REPLICAS: `tcp-listener=${listeners}`, ...(direct ? await published() : {}) },
    });
    try {
      const agents: RunningAgent[] = [];
      for (let index = 1; index <= listeners; index += 1) {
        const device = `bench-${index}`;
        const mappings = [`tcp:9=127.0.0.1:${originPort}`, `http:80=127.0.0.1:${originPort}`];
        agents.push(await stack.runAgent({ name: device, token: await stack.addDevice(device), mappings }));
      }
      const classic = await stack.runAgent({
        name: 'classic',
        token: await stack.addDevice('classic'),
        mappings: [`tcp:9=127.0.0.1:${originPort}`],
        args: ['--warm', '0'],
      });
      const { host } = new URL(agents[0]?.endpoint(80).url ?? '');
      return {
        ports: agents.map((agent) => agent.endpoint(9).public_port),
        parts: {
          listener: stack.info.services.filter((service) => service.name === 'tcp-listener').map(({ pid }) => pid),
          agent: agents.map(({ pid }) => pid),
          edge: childPids(stack.info.nginx.pid),
        },
        ways: { 'dialled, not warm': classic.endpoint(9).public_port },
        http: { port: Number(new URL(stack.info.edge).port), host },
        version: 'this checkout',
        stop: async () => {
          for (const agent of [...agents, classic]) await agent.stop();
          await stack.stop();
        },
      };
    } catch (error) {
      await stack.stop();
      throw error;
    }
  },
});

export const culvert = culvertWith('Culvert');
/** The listener is published: agents dial their transfers there, past the edge. */
export const culvertDirect = culvertWith('Culvert, direct transfers', { direct: true });
/** What `CULVERT_REPLICAS` brings: two listeners, and a device on each. */
export const culvertReplicas = culvertWith('Culvert, two listeners', { listeners: 2 });
