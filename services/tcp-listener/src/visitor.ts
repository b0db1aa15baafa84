import type { Socket } from 'node:net';
import type { OperatorUse } from '@culvert/bus';
import { CulvertError, type Endpoint, type VisitorOutcome } from '@culvert/contracts';
import { outcomeOf, type SpliceOptions, type SpliceResult, Stopper } from '@culvert/relay';
import { randomId, type Tracing, type UsageReport } from '@culvert/service-kit';
import { type DoorDeps, dismiss, refusalOf, turnAway } from './admission.ts';
import { type Device, newlyMoved, type Visitor } from './device.ts';
import type { Later } from './later.ts';
import { Stages } from './stages.ts';
import type { Tenures } from './tenures.ts';
import { type About, ended, joined } from './told.ts';
import { readFirst, traceparentIn } from './trace-context.ts';
import { type DialDeps, requestTransfer } from './transfer-request.ts';
import { watchWaiting } from './waiting-socket.ts';
import { type Untaken, visitWarm, type WarmVisit } from './warm-visit.ts';

export interface VisitorDeps extends DoorDeps {
  dialling: DialDeps;
  tenures: Tenures;
  usage: Pick<UsageReport, 'add'>;
  later: Later;
  /** Undefined: visitors are not traced. */
  tracing?: Tracing | undefined;
}

/** Where a visitor comes from who does not come to a public port. */
export interface Front {
  /** Who visits, as events and the device are told. */
  visitor: string;
  /** The operator who visits. */
  operator: OperatorUse;
  /** The device serves the visitor from here on. */
  joined(): void;
  /** It is over; told before the socket is destroyed. */
  over(outcome: VisitorOutcome): void;
}

/** Transfers shorter than this send only `conn.closed`. */
const OPENED_AFTER_MS = 1_000;

const NOTHING = Buffer.alloc(0);
/** Before an IPv4 address on a socket of both families. */
const MAPPED = '::ffff:';

/** The visitor hung up before it had a transfer. Not an error code: nobody is left to be told. */
class VisitorGone extends Error {}

/**
 * One visitor, from accept to close.
 *
 *   accepted --in line--> offered to a warm transfer --accepted--------------> spliced --both directions ended--> closed
 *       |                  |  \--none, or not taken--> dialling --attached--->
 *       |                  \--refused, deadline, lost, visitor hung up-------> answered or reset, closed
 *       \--too many, too fast, not allowed, grace--> told of or counted, answered or reset, closed
 *
 * Owns the visitor's socket: once this settles, it is destroyed. Never rejects.
 */
export async function serveVisitor(
  socket: Socket,
  endpoint: Endpoint,
  device: Device,
  deps: VisitorDeps,
  front?: Front,
): Promise<void> {
  const { later, limits, log, metrics, tenures } = deps;
  const startedAt = performance.now();
  const conn = randomId(9);
  const address = front === undefined && endpoint.scheme === 'tcp' ? (socket.remoteAddress ?? '') : undefined;
  const from = front?.visitor ?? (address === undefined ? `edge:${conn}` : nameOf(address, socket.remotePort));
  const refused = refusalOf(device, endpoint, address, limits);
  if (refused !== undefined) {
    front?.over(refused);
    return turnAway(socket, { device, endpoint, visitor: from, conn, outcome: refused, door: front === undefined }, deps);
  }
  socket.on('error', ignore); // without a listener Node would throw; 'close' follows
  const life = new Stopper();
  const visitor: Visitor = {
    place: undefined,
    epoch: device.tenure?.epoch ?? 0,
    port: endpoint.port,
    waiting: true,
    address,
    running: undefined,
    counted: { toDevice: 0, toVisitor: 0 },
    operator: front?.operator,
    end: (code) => life.abort(new CulvertError(code)),
  };
  const about = (): About => {
    return { epoch: visitor.epoch, conn, port: endpoint.port, public_port: endpoint.public_port, visitor: from };
  };
  const untaken: Untaken = { socket, early: NOTHING, offered: false };
  /** Waits for what may take a while, and notices meanwhile when the visitor leaves. */
  const waited = async <T>(wait: Promise<T>): Promise<T> => {
    const endWatch = watchWaiting(untaken.socket, endpoint.scheme, () => life.abort(new VisitorGone()));
    try {
      return await wait;
    } finally {
      endWatch();
    }
  };
  let result: SpliceResult = { outcome: 'internal', toDevice: 0, toVisitor: 0 };
  let waitedMs: number | undefined;
  let opened: NodeJS.Timeout | undefined;
  let hasSlot = false;
  const stages = new Stages(metrics);
  const onJoined = (warm: boolean): void => {
    const now = performance.now();
    visitor.waiting = false;
    stages.enter('splice', now);
    waitedMs = Math.round(now - startedAt);
    later.add(joined(metrics, stages, waitedMs, warm));
    opened = setTimeout(() => deps.events.publish('conn.opened', device.name, about()), OPENED_AFTER_MS);
    front?.joined();
  };
  const onRunning: SpliceOptions['onRunning'] = (running) => {
    visitor.running = running;
  };
  try {
    device.join(visitor);
    if (deps.tracing !== undefined) {
      const since = Date.now();
      if (endpoint.scheme !== 'tcp' && front === undefined) untaken.early = await waited(readFirst(socket, life));
      stages.span = deps.tracing.start('listener visitor', traceparentIn(untaken.early), 'server', since);
    }
    stages.enter('line');
    life.throwIfAborted();
    const slot = device.slots.take(life, limits.DIAL_MS);
    if (slot !== undefined) await waited(slot);
    hasSlot = true;
    const line = device.warm.soon(limits.WARM_WAIT_MS);
    if (line !== undefined) await waited(line);
    life.throwIfAborted();
    const wanted = { device, port: endpoint.port, visitor: from };
    const offeredAt = performance.now();
    const until = offeredAt + limits.DIAL_MS;
    stages.enter('warm', offeredAt);
    const { traceparent } = stages;
    const onAnswered: WarmVisit['onAnswered'] = (askedAt, outcome, localMs) => {
      if (traceparent === undefined) return;
      deps.tracing?.agentPart({ device: device.name, parent: traceparent, askedAt, outcome, localMs });
    };
    const onAccepted = (): void => onJoined(true);
    const warm = { ...wanted, until, traceparent, onAnswered, signal: life, onAccepted, onRunning };
    const served = await visitWarm(untaken, warm, metrics);
    if (served === undefined) {
      stages.enter('dial');
      const dialled = { ...wanted, until: untaken.offered ? until : undefined, traceparent: stages.traceparent };
      const transfer = await waited(requestTransfer(dialled, life, deps.dialling));
      onJoined(false);
      result = await transfer.splice(untaken.socket, {
        signal: life,
        early: untaken.early,
        pace: device.policy.pace,
        onRunning,
      });
    } else result = served;
  } catch (error) {
    result.outcome = outcomeOfError(error);
    if (result.outcome === 'internal') log.error({ event: 'visitor.bug', device: device.name, err: error });
  }
  const endedAt = performance.now();
  const { outcome, toDevice, toVisitor } = result;
  stages.end(outcome, endedAt);
  stages.span?.end(outcome, { 'culvert.device': device.name, 'culvert.conn': conn, 'culvert.visitor': from });
  front?.over(outcome);
  clearTimeout(opened);
  if (hasSlot) device.slots.give();
  visitor.waiting = false;
  deps.usage.add(device.name, newlyMoved(visitor, result));
  const durationMs = Math.round(endedAt - startedAt);
  later.add(ended({ device: device.name, about: about(), outcome, toDevice, toVisitor, waitedMs, durationMs, stages }, deps));
  if (front === undefined && waitedMs === undefined && outcome !== 'visitor_gone')
    await dismiss(untaken.socket, endpoint, outcome, deps);
  untaken.socket.destroy();
  device.leave(visitor);
  tenures.forgetIfEmpty(device);
}

function outcomeOfError(error: unknown): VisitorOutcome {
  if (error instanceof VisitorGone) return 'visitor_gone';
  return error instanceof CulvertError && error.code !== 'internal' ? outcomeOf(error.code) : 'internal';
}

/** address:port, IPv6 in brackets, IPv4 as such even on a socket of both families. */
function nameOf(remote: string, port = 0): string {
  const address = remote.startsWith(MAPPED) && remote.includes('.') ? remote.slice(MAPPED.length) : remote;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function ignore(): void {}
