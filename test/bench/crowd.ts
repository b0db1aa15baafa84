/**
 * `crowd.ts tcp|http <port> <host> <width> <ms>`: visitors who want all there is of one device, in a process of its own and with
 * the least priority, as their machines are not ours. Says how many connections or requests it began and how many were served.
 */

import net from 'node:net';
import { setPriority } from 'node:os';

const [kind, port, host, width, ms] = process.argv.slice(2) as [string, string, string, string, string];
setPriority(19);
const until = performance.now() + Number(ms);
const counts = { begun: 0, served: 0 };

function connected(): net.Socket {
  counts.begun += 1;
  return net.connect({ port: Number(port), host: '127.0.0.1', noDelay: true }).on('error', () => {});
}
const closed = (socket: net.Socket): Promise<void> => new Promise((resolve) => socket.once('close', () => resolve()));

/** Downloads without a pause once it is in, and comes again at once when it is sent away. */
async function byPort(): Promise<void> {
  while (performance.now() < until) {
    const socket = connected();
    socket.setTimeout(Math.max(1, until - performance.now()), () => socket.destroy());
    socket.write(`D ${1e12}\n`);
    socket.once('data', () => {
      counts.served += 1;
    });
    socket.on('data', () => performance.now() > until && socket.destroy());
    await closed(socket);
  }
}

/** One request after the other, on a new connection whenever the edge closes the former. */
async function byName(): Promise<void> {
  while (performance.now() < until) {
    const socket = connected();
    const ask = (): void => void socket.write(`GET /bench HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    socket.setTimeout(Math.max(1, until - performance.now()), () => socket.destroy());
    socket.on('connect', ask).on('data', (data) => {
      if (data.includes('HTTP/1.1 200')) counts.served += 1;
      if (performance.now() > until) socket.destroy();
      else ask();
    });
    await closed(socket);
  }
}

const lane = kind === 'tcp' ? byPort : byName;
await Promise.all(Array.from({ length: Number(width) }, lane));
process.send?.(counts);
process.disconnect();
