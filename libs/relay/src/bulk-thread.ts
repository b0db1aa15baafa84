/**
 * The bulk thread: moves bytes between sockets for `bulk.ts`, so that the event loop has nothing to do with bulk. Linux runs at once
 * who has used little of a core, and so whoever waits there for small answers is not behind bulk any more.
 *
 *   idle (Node's own event loop) --an order--> moving, all orders in turn, ppoll(2) while none can move --no order left--> idle
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { BulkJob, type BulkOrder, type BulkReport } from './bulk-job.ts';
import { type Libc, loadLibc, POLLIN } from './libc.ts';

export type BulkRequest = { id: number; order: BulkOrder } | { id: number; recall: true };
export type BulkAnswer = { ready: true } | { id: number; report: BulkReport };

/** So long it waits at most before it looks at all orders' deadlines again. */
const POLL_MS = 5;
/** ppoll(2)'s `struct pollfd`: `int fd; short events; short revents`. */
const POLL_BYTES = 8;
const EVENTS_AT = 4;
const REVENTS_AT = 6;
/** A descriptor that ppoll(2) passes over. */
const NOBODY = -1;
const NS_PER_MS = 1e6;

const port = parentPort as MessagePort;
const libc = loadLibc() as Libc;
/** An event descriptor that is written to behind each message. */
const { wake } = workerData as { wake: number };
const jobs = new Map<number, BulkJob>();
/** Those of them that cannot move for now. */
const waiting = new Set<BulkJob>();
const counter = Buffer.alloc(8);
/** `struct timespec`: seconds and nanoseconds, 64 bits each. */
const timeout = new BigInt64Array(2);
let polled = Buffer.alloc(64 * POLL_BYTES);
watch(0, wake, POLLIN);

function take(request: BulkRequest): void {
  if ('recall' in request) {
    const job = jobs.get(request.id);
    if (job === undefined) return;
    job.recalled = true;
    waiting.delete(job);
    return;
  }
  try {
    jobs.set(request.id, new BulkJob(request.order, libc, performance.now()));
  } catch {
    const { place } = request.order;
    answer({ id: request.id, report: { end: 'lacking', errno: 0, moved: 0, unread: 0, rests: 0, place, rest: undefined } });
  }
}

function answer(message: BulkAnswer): void {
  port.postMessage(message);
}

/** One turn of all orders that may move. */
function turn(): void {
  for (const [id, job] of jobs) {
    if (waiting.has(job)) continue;
    const went = job.step(performance.now());
    if (went === false) waiting.add(job);
    if (typeof went === 'boolean') continue;
    jobs.delete(id);
    answer({ id, report: job.finish(went) });
  }
}

/** Looks which of those that wait may move; while none can, it waits with them. Who rests is not woken by what it could do. */
function look(): void {
  const listed = [...waiting];
  if (polled.length < (listed.length + 1) * POLL_BYTES) {
    polled = Buffer.alloc(2 * polled.length);
    watch(0, wake, POLLIN);
  }
  const before = performance.now();
  let waitMs = waiting.size === jobs.size ? POLL_MS : 0;
  listed.forEach((job, i) => {
    const { waitsFor, restsUntil } = job;
    if (restsUntil > 0) waitMs = Math.min(waitMs, Math.max(0, restsUntil - before));
    watch(i + 1, restsUntil > 0 ? NOBODY : waitsFor === POLLIN ? job.from : job.to, waitsFor);
  });
  timeout[1] = BigInt(Math.ceil(waitMs * NS_PER_MS));
  const ready = libc.ppoll(polled, listed.length + 1, timeout, null);
  const now = performance.now();
  if (ready > 0) libc.read(wake, counter, counter.length);
  listed.forEach((job, i) => {
    const woken = ready > 0 && polled.readInt16LE((i + 1) * POLL_BYTES + REVENTS_AT) !== 0;
    const rested = job.restsUntil > 0 && now >= job.restsUntil;
    if (woken || rested || job.isDue(now)) waiting.delete(job);
  });
}

function watch(place: number, fd: number, events: number): void {
  polled.writeInt32LE(fd, place * POLL_BYTES);
  polled.writeInt32LE(events, place * POLL_BYTES + EVENTS_AT); // and no `revents`
}

port.on('message', (first: BulkRequest) => {
  take(first);
  while (jobs.size > 0) {
    turn();
    if (waiting.size > 0) look();
    for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port))
      take(next.message as BulkRequest);
  }
});
answer({ ready: true });
