import net from 'node:net';
import { Redis } from 'ioredis';
import type { Stack } from '../harness/system.ts';

/** A port of the running system, and whose it is. */
export interface OpenPort {
  name: string;
  host: string;
  port: number;
}

/** Every port that any process of the system listens on. */
export async function openPorts(stack: Stack): Promise<OpenPort[]> {
  const { admin, edge, nats, redis, services } = stack.info;
  const at = (name: string, url: string): OpenPort => {
    const { hostname, port } = new URL(url);
    return { name, host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) };
  };
  const ports = [at('edge', edge), at('admin', admin), at('nats', nats), at('redis', redis.address)];
  for (const { id, health } of services) ports.push(at(`${id} health`, health));
  const client = new Redis(redis.address);
  for (const { id } of services) {
    const { address } = JSON.parse((await client.get(`instance:${id}`)) ?? '{}') as { address?: string };
    if (address) ports.push(at(`${id} itself`, `tcp://${address}`));
  }
  client.disconnect();
  return ports;
}

/** Sends bytes, and gives what came until it is enough, the other side closed, or `patienceMs` is over. */
export function say(
  { host, port }: OpenPort,
  bytes: Buffer | string,
  patienceMs: number,
  enough?: RegExp,
): Promise<{ heard: string; closed: boolean }> {
  return new Promise((resolve) => {
    let heard = '';
    const socket = net.connect({ host, port });
    const settle = (closed: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ heard, closed });
    };
    const timer = setTimeout(() => settle(false), patienceMs);
    socket.on('error', () => {}).on('close', () => settle(true));
    socket.on('data', (chunk) => {
      heard += chunk.toString('latin1');
      if (enough?.test(heard)) settle(false);
    });
    socket.write(bytes);
  });
}

/** Idle connections, as many as one wants; the returned function closes them. */
export async function crowd({ host, port }: OpenPort, count: number): Promise<{ open(): number; leave(): void }> {
  const sockets: net.Socket[] = [];
  const batch = 250;
  for (let made = 0; made < count; made += batch) {
    const some = Array.from({ length: Math.min(batch, count - made) }, () => net.connect({ host, port }).on('error', () => {}));
    sockets.push(...some);
    await Promise.all(some.map((socket) => new Promise((done) => socket.once('connect', done).once('close', done).resume())));
  }
  return {
    open: () => sockets.filter(({ destroyed }) => !destroyed).length,
    leave: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}
