import type { Socket } from 'node:net';
import { CulvertError, REFUSED_CODES } from '@culvert/contracts';
import type { SpliceOptions, SpliceResult, StopSignal } from '@culvert/relay';
import { randomId } from '@culvert/service-kit';
import type { Device } from './device.ts';
import type { ListenerMetrics } from './metrics.ts';

export interface WarmVisit {
  device: Device;
  /** The device's own number of the endpoint. */
  port: number;
  /** Who visits, as the device is told. */
  visitor: string;
  /** It is offered to no further transfer from then on, in milliseconds of `performance.now()`. */
  until: number;
  /** W3C trace context of the offer, when the visit is traced. */
  traceparent?: string | undefined;
  /** The device has answered; when it accepted, it may have said how long its local target took. */
  onAnswered(askedAt: number, outcome: string, localMs?: number): void;
  signal: StopSignal;
  /** The device has a target: the visitor is served from here on. */
  onAccepted(): void;
  onRunning: SpliceOptions['onRunning'];
}

/** No warm transfer took the visitor: here it is, and what was read of it. No target can have seen that. */
export interface Untaken {
  socket: Socket;
  early: Buffer;
  /** It has waited for a warm transfer before. */
  offered: boolean;
}

/**
 * Serves a visitor by a warm transfer, if one waits that can:
 *
 *   offered --accepted--> served
 *      | \--refused--> failed; the transfer waits again
 *      |--the transfer broke--> offered to the next, before `until`
 *      \--WARM_ACCEPT_MS, none waits--> untaken: to be dialled
 *
 * @throws CulvertError as the device refused, or `dial_timeout` at `until`, with the visitor in `untaken`; the reason of the signal likewise.
 */
export async function visitWarm(
  untaken: Untaken,
  { device, port, visitor, until, traceparent, onAnswered, signal, onAccepted, onRunning }: WarmVisit,
  { warmOffers }: Pick<ListenerMetrics, 'warmOffers'>,
): Promise<SpliceResult | undefined> {
  for (let host = device.warm.take(); host !== undefined; host = device.warm.take()) {
    const id = randomId(16);
    let accepted = false;
    const askedAt = Date.now();
    const result = await host.offer(
      untaken.socket,
      { id, port, visitor, traceparent },
      {
        signal,
        early: untaken.early,
        pace: device.policy.pace,
        onRunning,
        onAccepted: (localMs) => {
          accepted = true;
          onAnswered(askedAt, 'ok', localMs);
          onAccepted();
        },
      },
    );
    if (result.outcome !== 'not_taken') {
      if (accepted) return result;
      warmOffers.inc({ outcome: 'visitor_gone' });
      return { ...result, outcome: 'visitor_gone' };
    }
    const { code, tcp, early } = result;
    Object.assign(untaken, { socket: tcp, early, offered: true });
    warmOffers.inc({ outcome: code });
    signal.throwIfAborted();
    if (REFUSED_CODES.some((refused) => refused === code)) {
      onAnswered(askedAt, code);
      throw new CulvertError(code);
    }
    if (code === 'dial_timeout') {
      device.warm.doubt();
      return undefined;
    }
    if (performance.now() >= until) throw new CulvertError('dial_timeout');
  }
  return undefined;
}
