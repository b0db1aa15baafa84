import type { Socket } from 'node:net';
import { CulvertError, type RefusedCode, TRANSFER_PATH, type VisitorOutcome } from '@culvert/contracts';
import { connectLocal, outcomeOf, type StopSignal, spliceInline, Transfer, type WarmDevice } from '@culvert/relay';
import type { AssignMessage, DialMessage } from '@culvert/wire';
import type { Control } from './control.ts';
import type { TransferEvent } from './events.ts';
import type { Mapping } from './mapping.ts';
import type { TransferOpener } from './open-transfer.ts';
import type { Settings } from './options.ts';

/** A visitor that is over, and the WebSocket that may still be closing behind its last bytes. */
export interface Served {
  event: TransferEvent;
  closing?: { transfer: Transfer; gone: Promise<void> };
}

/**
 * One visitor, from the dial to the end:
 *
 *   dialled --target connected--> opening --transfer connected--> spliced --both directions ended--> closed
 *      \--refused, silent: told      \--the server does not know it any more, abort-----------------> closed
 *
 * The target comes first, so that its failure reaches the visitor as what it is, before anything looks connected. What
 * either side says early is left unread in its socket until both are there.
 */
export async function serveTransfer(
  dial: DialMessage,
  mapping: Mapping,
  control: Control,
  opener: TransferOpener,
  settings: Settings,
  signal: StopSignal,
): Promise<Served> {
  const totals = { toDevice: 0, toVisitor: 0 };
  const over = (outcome: VisitorOutcome): Served => ({ event: { id: dial.id, port: dial.port, outcome, ...totals } });
  if (!dial.path.startsWith(`${TRANSFER_PATH}/`)) return over('protocol_error');
  const dialledAt = performance.now();
  let local: Socket;
  try {
    local = await connectLocal({ ...mapping.target, timeoutMs: settings.limits.LOCAL_CONNECT_MS, signal });
  } catch (err) {
    if (signal.aborted) return over('wind_down');
    const code = refusalOf(err);
    control.refuse(dial.id, code);
    return over(code);
  }
  const localAt = performance.now();
  const onOpen = (): void => {
    if (dial.traceparent !== undefined) control.traced(dial.id, localAt - dialledAt, performance.now() - localAt);
  };
  const inline = control.hasInline ? await control.openInline(dial.path) : undefined;
  if (inline !== undefined) {
    onOpen();
    const { outcome, ...bytes } = await spliceInline(inline, local, { limits: settings.limits, signal });
    Object.assign(totals, bytes);
    return over(outcome);
  }
  const { promise: gone, resolve: onGone } = Promise.withResolvers<void>();
  let transfer: Transfer;
  try {
    const { socket, head, encrypted, byEdge } = await opener.openDialled(control, dial.path, signal);
    const mask = encrypted ? 'zero' : 'random';
    const { limits } = settings;
    transfer = new Transfer(socket, { role: 'client', head, mask, limits, byEdge, onGone: () => onGone() });
    onOpen();
  } catch (err) {
    local.resetAndDestroy();
    return over(outcomeOfFailure(err, signal));
  }
  const { outcome, ...bytes } = await transfer.splice(local, { signal });
  Object.assign(totals, bytes);
  return { ...over(outcome), closing: { transfer, gone } };
}

/** A dial without a visitor: the server asks whether transfers come about. One is opened and closed again; no target hears of it. */
export async function serveCanary(
  dial: DialMessage,
  control: Control,
  opener: TransferOpener,
  settings: Settings,
  signal: StopSignal,
): Promise<void> {
  if (!dial.path.startsWith(`${TRANSFER_PATH}/`)) return;
  try {
    const { socket, head, encrypted } = await opener.openDialled(control, dial.path, signal);
    const { promise: gone, resolve: onGone } = Promise.withResolvers<void>();
    const mask = encrypted ? 'zero' : 'random';
    const options = { role: 'client', head, mask, limits: settings.limits, onGone: () => onGone() } as const;
    new Transfer(socket, options).cut('bye');
    await gone;
  } catch (err) {
    settings.log({ event: 'canary.failed', why: err instanceof Error ? err.message : String(err) });
  }
}

/**
 * One visitor of a warm transfer:
 *
 *   assigned --target connected--> accepted, spliced --both directions ended--> the transfer waits again
 *      \--refused, silent: told; the transfer waits again
 *
 * Nothing of the visitor reaches a target before it is accepted: until then the server may still take it elsewhere.
 */
export async function serveAssigned(
  { id, port }: AssignMessage,
  mapping: Mapping,
  warm: WarmDevice,
  settings: Settings,
  signal: StopSignal,
): Promise<TransferEvent> {
  try {
    const local = await connectLocal({ ...mapping.target, timeoutMs: settings.limits.LOCAL_CONNECT_MS, signal });
    const { outcome, toDevice, toVisitor } = await warm.splice(local, { signal });
    return { id, port, outcome, toDevice, toVisitor };
  } catch (err) {
    const outcome = signal.aborted ? 'wind_down' : refusalOf(err);
    if (outcome === 'wind_down') warm.transfer.cut('wind_down');
    else warm.refuse(outcome);
    return { id, port, outcome, toDevice: 0, toVisitor: 0 };
  }
}

function refusalOf(err: unknown): RefusedCode {
  return err instanceof CulvertError && err.code === 'local_timeout' ? 'local_timeout' : 'local_refused';
}

function outcomeOfFailure(err: unknown, signal: StopSignal): VisitorOutcome {
  if (signal.aborted) return 'wind_down';
  if (!(err instanceof CulvertError)) return 'internal';
  return err.code === 'not_found' ? 'visitor_gone' : outcomeOf(err.code);
}
