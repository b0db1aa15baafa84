import type { Socket } from 'node:net';
import type { VisitorOutcome } from '@culvert/contracts';
import type { Transfer } from '@culvert/relay';
import type { Access } from './access.ts';

/** Where a local connection goes. */
export interface Destination {
  device: string;
  port: number;
}

/**
 * Gets a way to the device for a connection that was accepted on this machine. Bytes that the client sends meanwhile stay in
 * its socket. When the client leaves, the attempt ends with it.
 *
 * @throws CulvertError as `Access.open`.
 */
export async function openFor(
  socket: Socket,
  { device, port }: Destination,
  access: Access,
  signal: AbortSignal,
): Promise<Transfer> {
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  socket.once('close', leave);
  signal.addEventListener('abort', leave, { once: true });
  if (socket.destroyed || signal.aborted) leave();
  try {
    return await access.open(device, port, gone.signal);
  } finally {
    socket.off('close', leave);
    signal.removeEventListener('abort', leave);
  }
}

export interface LocalResult {
  /** `visitor_reset`: the client on this machine broke off; `peer_reset`: the device's side did. */
  outcome: VisitorOutcome;
  /** Bytes to the device and back. */
  sent: number;
  received: number;
}

/** Joins the two until both directions have ended. Never rejects; the socket is destroyed afterwards. */
export async function joinLocal(transfer: Transfer, socket: Socket, signal: AbortSignal): Promise<LocalResult> {
  const { outcome, toDevice, toVisitor } = await transfer.splice(socket, { signal });
  // To the relay, whoever dialled is the device's side.
  const swapped: Partial<Record<VisitorOutcome, VisitorOutcome>> = { peer_reset: 'visitor_reset', visitor_reset: 'peer_reset' };
  return { outcome: swapped[outcome] ?? outcome, sent: toVisitor, received: toDevice };
}
