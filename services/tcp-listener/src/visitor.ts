import type { Socket } from 'node:net';
import type { OperatorUse } from '@culvert/bus';
import { CulvertError, type Endpoint, type VisitorOutcome } from '@culvert/contracts';
import { outcomeOf, type SpliceOptions, type SpliceResult, Stopper } from '@culvert/relay';
import { type MovedBytes, randomId, type Tracing, type UsageReport } from '@culvert/service-kit';
import { type DoorDeps, dismiss, refusalOf, turnAway } from './admission.ts';
import type { Device, Visitor } from './device.ts';
import type { Later } from './later.ts';
import { Stages } from './stages.ts';
import type { Tenures } from './tenures.ts';
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
  const life = new Stopper();
  const visitor: Visitor = {
    epoch: device.tenure?.epoch ?? 0,
    port: endpoint.port,
    waiting: true,
    address,
    operator: front?.operator,
    end: (code) => life.abort(new CulvertError(code)),
  };
  const about = (): { epoch: number; conn: string; port: number; public_port: number; visitor: string } => {
    return { epoch: visitor.epoch, conn, port: endpoint.port, public_port: endpoint.public_port, visitor: from };
  };
  const watch = (): (() => void) => watchWaiting(untaken.socket, endpoint.scheme, () => life.abort(new VisitorGone()));
  const untaken: Untaken = { socket, early: NOTHING, offered: false };
  let endWatch = watch();
  let result: SpliceResult = { outcome: 'internal', toDevice: 0, toVisitor: 0 };
  let waitedMs: number | undefined;
  let opened: NodeJS.Timeout | undefined;
  let hasSlot = false;
  const stages = new Stages(metrics);
  const onJoined = (): void => {
    visitor.waiting = false;
    stages.enter('splice');
    const ms = Math.round(performance.now() - startedAt);
    waitedMs = ms;
    later.add(() => {
      stages.tell();
      metrics.dialSeconds.observe(ms / 1000);
    });
    opened = setTimeout(() => deps.events.publish('conn.opened', device.name, about()), OPENED_AFTER_MS);
    front?.joined();
  };
  let counted = { toDevice: 0, toVisitor: 0 };
  /** Bytes since it was asked last. */
  const countUpTo = (moved: { toDevice: number; toVisitor: number }): MovedBytes => {
    const since = { to_device: moved.toDevice - counted.toDevice, to_visitor: moved.toVisitor - counted.toVisitor };
    counted = moved;
    return since;
  };
  const onRunning: SpliceOptions['onRunning'] = (running) => {
    visitor.uncounted = () => countUpTo(running.moved);
    visitor.moved = () => running.moved.toDevice + running.moved.toVisitor;
  };
  try {
    device.join(visitor);
    if (deps.tracing !== undefined) {
      const since = Date.now();
      if (endpoint.scheme !== 'tcp' && front === undefined) untaken.early = await readFirst(socket, life);
      stages.span = deps.tracing.start('listener visitor', traceparentIn(untaken.early), 'server', since);
    }
    stages.enter('line');
    life.throwIfAborted();
    const slot = device.slots.take(life, limits.DIAL_MS);
    if (slot !== undefined) await slot;
    hasSlot = true;
    const line = device.warm.soon(limits.WARM_WAIT_MS);
    if (line !== undefined) await line;
    life.throwIfAborted();
    const wanted = { device, port: endpoint.port, visitor: from };
    const offeredAt = performance.now();
    endWatch();
    stages.enter('warm');
    const { traceparent } = stages;
    const onAnswered: WarmVisit['onAnswered'] = (askedAt, outcome, localMs) => {
      if (traceparent === undefined) return;
      deps.tracing?.agentPart({ device: device.name, parent: traceparent, askedAt, outcome, localMs });
    };
    const warm = { ...wanted, traceparent, onAnswered, signal: life, onAccepted: onJoined, onRunning };
    const served = await visitWarm(untaken, warm, metrics);
    if (served === undefined) {
      endWatch = watch();
      stages.enter('dial');
      const until = untaken.offered ? offeredAt + limits.DIAL_MS : undefined;
      const transfer = await requestTransfer({ ...wanted, until, traceparent: stages.traceparent }, life, deps.dialling);
      endWatch();
      onJoined();
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
  stages.end(result.outcome);
  stages.span?.end(result.outcome, { 'culvert.device': device.name, 'culvert.conn': conn, 'culvert.visitor': from });
  front?.over(result.outcome);
  endWatch();
  clearTimeout(opened);
  if (hasSlot) device.slots.give();
  visitor.waiting = false;
  const { outcome, toDevice, toVisitor } = result;
  deps.usage.add(device.name, countUpTo({ toDevice, toVisitor }));
  const durationMs = Math.round(performance.now() - startedAt);
  const wasAbout = about();
  later.add((at) => {
    stages.tell();
    metrics.visitors.inc({ outcome });
    metrics.visitorSeconds.observe(durationMs / 1000);
    metrics.bytes.inc({ direction: 'to_device' }, toDevice);
    metrics.bytes.inc({ direction: 'to_visitor' }, toVisitor);
    if (waitedMs === undefined) {
      deps.events.publish('conn.failed', device.name, { ...wasAbout, outcome, wait_ms: durationMs }, at);
    } else {
      const bytes = { to_device: toDevice, to_visitor: toVisitor };
      const times = { wait_ms: waitedMs, duration_ms: durationMs };
      deps.events.publish('conn.closed', device.name, { ...wasAbout, outcome, ...bytes, ...times }, at);
    }
    log.info({ event: 'visitor.closed', device: device.name, ...wasAbout, outcome, toDevice, toVisitor, waitedMs, durationMs });
  });
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
  const address = remote.replace(/^::ffff:(?=[0-9.]+$)/, '');
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
