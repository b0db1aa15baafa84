import { afterEach, describe, expect, it } from 'vitest';
import { type ServerProcess, startNats, startRedis } from '../harness/servers.ts';

const running: ServerProcess[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()));
});

describe('servers of tests', () => {
  it('start on free ports, come back on the same one after a kill and leave no process', async () => {
    const servers = await Promise.all([startRedis(), startNats()]);
    running.push(...servers);
    for (const server of servers) {
      const { pid, url } = server;
      await server.kill();
      expect(server.pid).toBeUndefined();
      expect(() => process.kill(pid ?? 0, 0)).toThrow();
      await server.start();
      expect(server.url).toBe(url);
    }
  });
});
