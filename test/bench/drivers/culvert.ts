import { startStack } from '../../harness/system.ts';
import { childPids } from '../processes.ts';
import type { Driver } from './driver.ts';

/** The real stack of `npm start` and the real agent; visitors come by public port. */
export const culvert: Driver = {
  name: 'Culvert',
  unavailable: async () => undefined,
  start: async (originPort) => {
    const stack = await startStack();
    const agent = await stack.runAgent({
      name: 'bench',
      token: await stack.addDevice('bench'),
      mappings: [`tcp:9=127.0.0.1:${originPort}`],
    });
    const listeners = stack.info.services.filter(({ name }) => name === 'tcp-listener').map(({ pid }) => pid);
    return {
      port: agent.endpoint(9).public_port,
      // The edge carries the transfer connections, so its workers count like the listener and the agent.
      pids: [...listeners, agent.pid, ...childPids(stack.info.nginx.pid)],
      version: 'this checkout',
      stop: async () => {
        await agent.stop();
        await stack.stop();
      },
    };
  },
};
