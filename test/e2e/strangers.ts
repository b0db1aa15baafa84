import net from 'node:net';
import tls from 'node:tls';
import { Redis } from 'ioredis';
import type { Stack } from '../harness/system.ts';

/** A port of the running system, and whose it is. */
export interface OpenPort {
  name: string;
  host: string;
  port: number;
}

/** What a stranger does who only wants to hold a place. `drip` comes byte by byte, without an end. */
export const HOLDS = {
  'who says nothing': { first: '', drip: '' },
  'whose head never ends': { first: 'GET /v1/control HTTP/1.1\r\nHost: localhost\r\n', drip: 'x' },
  'whose body never ends': {
    first: 'POST /v1/enroll?name=x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer cve_x\r\nContent-Length: 1000\r\n\r\n',
    drip: 'x',
  },
  'whose TLS handshake never ends': { first: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', drip: '' },
} as const;
export type Hold = keyof typeof HOLDS;

/** Holds a place in that way, within TLS if wanted, until it is taken away. @throws when that takes longer than `lateMs`. */
export async function holdPlace({ name, host, port }: OpenPort, hold: Hold, lateMs: number, within = false): Promise<void> {
  const { first, drip } = HOLDS[hold];
  const raw = net.connect({ host, port }).on('error', () => {});
  const socket = within ? tls.connect({ socket: raw, rejectUnauthorized: false }).on('error', () => {}) : raw;
  const closed = new Promise((resolve) => raw.once('close', resolve));
  socket.resume().write(Buffer.from(first, 'latin1'));
  const timer = setInterval(() => drip !== '' && socket.write(drip), 250);
  let late: NodeJS.Timeout | undefined;
  const tooLate = new Promise((_, reject) => {
    late = setTimeout(() => reject(new Error(`${name} still keeps the place of one ${hold}`)), lateMs);
  });
  await Promise.race([closed, tooLate]).finally(() => {
    clearInterval(timer);
    clearTimeout(late);
    raw.destroy();
  });
}

/** Every port that any process of the system listens on. */
export async function openPorts(stack: Stack): Promise<OpenPort[]> {
  const { admin, edge, nats, nginx, redis, services } = stack.info;
  const at = (name: string, url: string): OpenPort => {
    const { hostname, port } = new URL(url);
    return { name, host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) };
  };
  const ports = [at('edge', edge), at('admin', admin), at('nats', nats), at('redis', redis.address)];
  for (const { id, health } of services) ports.push(at(`${id} health`, health));
  ports.push(at('edge health', nginx.health));
  const plain = stack.env.CULVERT_PORT;
  if (plain !== undefined && plain !== new URL(edge).port) ports.push(at('edge, plain port', `http://127.0.0.1:${plain}`));
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
