import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ServerProcess, startRedis } from '../../../test/harness/servers.ts';
import { eventually } from '../../../test/harness/service.ts';
import { connectRedis, createLogger } from '../src/index.ts';

let server: ServerProcess;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const log = createLogger('test', 'test', 'silent');

/** A way to Redis whose present connections can be silenced, as by a machine that vanished: open, and nothing comes. */
async function startWay(): Promise<{ url: string; silence(): void; close(): void }> {
  const sockets = new Set<net.Socket>();
  const way = net.createServer((near) => {
    const far = net.connect(server.port, '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    }
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => way.listen(0, '127.0.0.1', resolve));
  return {
    url: `redis://127.0.0.1:${(way.address() as AddressInfo).port}`,
    silence: () => {
      for (const socket of sockets) socket.unpipe().pause();
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
      way.close();
    },
  };
}

it('a Redis that has fallen silent without a reset is left, and found again', async () => {
  const way = await startWay();
  const redis = await connectRedis(way.url, 'test', log);
  try {
    expect(await redis.ping()).toBe('PONG');
    way.silence();
    await expect(redis.ping()).rejects.toThrow();
    await eventually('it is connected anew', () => redis.ping().catch(() => undefined), 15_000);
  } finally {
    redis.disconnect();
    way.close();
  }
});

it('an address that nobody understands is refused with what would be right', async () => {
  await expect(connectRedis('redis+sentinel://a,b', 'test', log)).rejects.toThrow(/redis\+sentinel:\/\/.*<name of the primary>/);
});

it('an attempt to connect that is broken off is not the last one, and what is ended stays so', async () => {
  const redis = await connectRedis(server.url, 'test', log);
  for (const client of [redis, redis.duplicate({ enableAutoPipelining: false })]) {
    client.on('error', () => {}); // that the attempt is broken off
    if (client.status !== 'ready') await client.connect();
    // As the client's own watch for a new primary does it, to whatever is going on.
    const { connector } = client as unknown as { connector: { disconnect(): void } };
    const ended = new Promise((done) => client.once('end', done));
    client.once('connecting', () => connector.disconnect());
    client.disconnect(true);
    await ended;
    await eventually('it is connected anew', () => client.ping().catch(() => undefined), 15_000);
    let attempts = 0;
    client.on('connecting', () => {
      attempts += 1;
    });
    client.disconnect();
    await eventually('it has ended', () => client.status === 'end');
    await new Promise((done) => setTimeout(done, 600)); // longer than it would wait before another try
    expect({ status: client.status, attempts }).toEqual({ status: 'end', attempts: 0 });
  }
});
