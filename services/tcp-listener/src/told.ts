import type { VisitorOutcome } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import type { ConnEvents } from './conn-events.ts';
import type { ListenerMetrics } from './metrics.ts';
import type { Stages } from './stages.ts';

/** Who visits what, as events and log lines say it. */
export interface About {
  epoch: number;
  conn: string;
  port: number;
  public_port: number;
  visitor: string;
}

/** A visitor who is over. */
export interface Ended {
  device: string;
  about: About;
  outcome: VisitorOutcome;
  toDevice: number;
  toVisitor: number;
  /** Until it was served; undefined: it never was. */
  waitedMs: number | undefined;
  durationMs: number;
  stages: Stages;
}

// What is told of visitors, to be put off (`Later`). Made here, so that what waits to be told holds on to these values alone: with the
// visitor's sockets and buffers in it, V8 would copy all of them as if they were still in use.

/** The device serves a visitor from here on. */
export function joined({ warmOffers, dialSeconds }: ListenerMetrics, stages: Stages, ms: number, warm: boolean): () => void {
  return () => {
    stages.tell();
    dialSeconds.observe(ms / 1000);
    if (warm) warmOffers.inc({ outcome: 'accepted' });
  };
}

export function ended(
  visit: Ended,
  { metrics, events, log }: { metrics: ListenerMetrics; events: ConnEvents; log: Logger },
): (at: number) => void {
  return (at) => {
    const { device, about, outcome, toDevice, toVisitor, waitedMs, durationMs } = visit;
    visit.stages.tell();
    metrics.visitors.inc({ outcome });
    metrics.visitorSeconds.observe(durationMs / 1000);
    metrics.bytes.inc({ direction: 'to_device' }, toDevice);
    metrics.bytes.inc({ direction: 'to_visitor' }, toVisitor);
    if (waitedMs === undefined) {
      events.publish('conn.failed', device, { ...about, outcome, wait_ms: durationMs }, at);
    } else {
      const bytes = { to_device: toDevice, to_visitor: toVisitor };
      const times = { wait_ms: waitedMs, duration_ms: durationMs };
      events.publish('conn.closed', device, { ...about, outcome, ...bytes, ...times }, at);
    }
    log.info({ event: 'visitor.closed', device, ...about, outcome, toDevice, toVisitor, waitedMs, durationMs });
  };
}
