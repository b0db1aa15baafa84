/**
 * A process of visitors, told what to do by messages: see words.ts. They come at a rate of their own, whether or not those
 * before them have been served: half to pages by the edge, half to public ports, each to another device.
 */
import { Agent, request } from 'node:http';
import net from 'node:net';
import type { Place, ToVisitors, VisitorsReport } from './words.ts';

const REPORT_MS = 200;
/** Beats of the clock that lets them in. */
const BEAT_MS = 20;
const LATE_MS = 30_000;
const AT_ONCE = 2_000;
const PAGE_BYTES = 2_000;
const LINE = Buffer.from(`${'x'.repeat(199)}\n`);

let edge = 0;
let perSecond = 0;
let due = 0;
let beatAt = performance.now();
let open = 0;
let next = 0;
const pages: string[] = [];
const ports: number[] = [];
const at = new Map<number, { pages: number } | { ports: number }>();
const empty = (): VisitorsReport => ({ kind: 'visits', httpMs: [], tcpMs: [], failures: {}, skipped: 0, open });
let report = empty();
const agent = new Agent({ keepAlive: true, maxFreeSockets: 64 });

/** A device that has moved is found at its new place from then on. */
function learn(index: number, { host, port }: Place): void {
  const known = at.get(index);
  if (host !== undefined) {
    const slot = known !== undefined && 'pages' in known ? known.pages : pages.length;
    pages[slot] = host;
    at.set(index, { pages: slot });
  } else if (port !== undefined) {
    const slot = known !== undefined && 'ports' in known ? known.ports : ports.length;
    ports[slot] = port;
    at.set(index, { ports: slot });
  }
}

function fail(why: string): void {
  report.failures[why] = (report.failures[why] ?? 0) + 1;
}

async function visit(kind: 'http' | 'tcp', work: () => Promise<void>): Promise<void> {
  const startedAt = performance.now();
  open += 1;
  try {
    await work();
    (kind === 'http' ? report.httpMs : report.tcpMs).push(Math.round((performance.now() - startedAt) * 10) / 10);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    fail(`${kind}: ${code ?? message}`);
  } finally {
    open -= 1;
  }
}

const page = (host: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const asked = request(
      { host: '127.0.0.1', port: edge, path: `/bytes/${PAGE_BYTES}`, headers: { host }, agent, timeout: LATE_MS },
      (answer) => {
        let bytes = 0;
        answer.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
        });
        answer.on('error', reject);
        answer.on('end', () => {
          if (answer.statusCode !== 200) reject(new Error(`status ${answer.statusCode}`));
          else if (bytes !== PAGE_BYTES) reject(new Error('wrong length'));
          else resolve();
        });
      },
    );
    asked.on('timeout', () => asked.destroy(new Error('late')));
    asked.on('error', reject);
    asked.end();
  });

const line = (port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    let bytes = 0;
    socket.setTimeout(LATE_MS, () => socket.destroy(new Error('late')));
    socket.on('connect', () => socket.write(LINE));
    socket.on('data', (chunk) => {
      bytes += chunk.length;
      if (bytes >= LINE.length) socket.end();
    });
    socket.on('error', reject);
    socket.on('close', () => (bytes === LINE.length ? resolve() : reject(new Error('closed too soon'))));
  });

function beat(): void {
  const now = performance.now();
  due += (perSecond * (now - beatAt)) / 1000;
  beatAt = now;
  for (; due >= 1; due -= 1) {
    if (open >= AT_ONCE) {
      report.skipped += 1;
      continue;
    }
    next += 1;
    // A stride that is prime to any fleet of ours: neighbours in time are far apart in the fleet.
    const pick = <T>(list: readonly T[]): T | undefined => list[((next >> 1) * 7_919) % Math.max(1, list.length)];
    const host = pick(pages);
    const port = pick(ports);
    if (host !== undefined && (next % 2 === 0 || port === undefined)) void visit('http', () => page(host));
    else if (port !== undefined) void visit('tcp', () => line(port));
  }
}

process.on('message', (message: ToVisitors) => {
  if (message.kind === 'visitors') edge = message.edge;
  else if (message.kind === 'rate') perSecond = message.perSecond;
  else for (const [index, place] of message.places) learn(index, place);
});
setInterval(beat, BEAT_MS);
setInterval(() => {
  if (process.connected) process.send?.({ ...report, open });
  report = empty();
}, REPORT_MS);
process.on('disconnect', () => process.exit(0));
