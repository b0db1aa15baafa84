/**
 * `crowd.ts tcp|http <port> <host> <width> <rate> <ms>`: visitors who want all there is of one device, in a process of its own and
 * with the least priority, as their machines are not ours. `rate` 0: `width` of them, each of whom comes again as soon as it is
 * sent away or answered. Otherwise so many new ones a second, whatever becomes of the others, `width` of them inside at most a
 * second. Says how many connections or requests it began, how many were served, and the CPU seconds that it took itself.
 */

import net from 'node:net';
import { setPriority } from 'node:os';

const [kind, port, host, width, rate, ms] = process.argv.slice(2) as [string, string, string, string, string, string];
/** Not the address of the visitors who are measured. */
const FROM = '127.0.0.2';
/** How often an open-loop crowd sends the next of its visitors. */
const TICK_MS = 10;
const STAY_MS = 1_000;
setPriority(19);
const until = performance.now() + Number(ms);
const counts = { begun: 0, served: 0, cpuS: 0 };

function connected(): net.Socket {
  counts.begun += 1;
  return net.connect({ port: Number(port), host: '127.0.0.1', localAddress: FROM, noDelay: true }).on('error', () => {});
}
const closed = (socket: net.Socket): Promise<void> => new Promise((resolve) => socket.once('close', () => resolve()));

/** Downloads without a pause once it is in. */
function byPort(socket: net.Socket): void {
  socket.write(`D ${1e12}\n`);
  socket.once('data', () => {
    counts.served += 1;
  });
  socket.on('data', () => performance.now() > until && socket.destroy());
}

/** One request after the other. */
function byName(socket: net.Socket): void {
  const ask = (): void => void socket.write(`GET /bench HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  socket.on('connect', ask).on('data', (data) => {
    if (data.includes('HTTP/1.1 200')) counts.served += 1;
    if (performance.now() > until) return void socket.destroy();
    counts.begun += 1;
    ask();
  });
}

const visit = (stayMs: number): Promise<void> => {
  const socket = connected();
  socket.setTimeout(Math.max(1, stayMs), () => socket.destroy());
  if (kind === 'tcp') byPort(socket);
  else byName(socket);
  return closed(socket);
};

async function closedLoop(): Promise<void> {
  while (performance.now() < until) await visit(until - performance.now());
}

async function openLoop(perSecond: number): Promise<void> {
  const inside = new Set<Promise<void>>();
  const startedAt = performance.now();
  for (let sent = 0; performance.now() < until; ) {
    for (const due = ((performance.now() - startedAt) * perSecond) / 1000; sent < due; sent += 1) {
      if (inside.size >= perSecond) continue; // nobody left: they are held back
      const one = visit(STAY_MS);
      inside.add(one);
      void one.then(() => inside.delete(one));
    }
    await new Promise((done) => setTimeout(done, TICK_MS));
  }
  await Promise.all(inside);
}

if (Number(rate) > 0) await openLoop(Number(rate));
else await Promise.all(Array.from({ length: Number(width) }, closedLoop));
const { user, system } = process.cpuUsage();
process.send?.({ ...counts, cpuS: (user + system) / 1e6 });
process.disconnect();
