import { CulvertError, type Limits } from '@culvert/contracts';
import { Transfer } from '@culvert/relay';
import { digestOf, type Handshake, type HandshakeServer, type Logger, serveHandshakes } from '@culvert/service-kit';
import { parseTransferHandshake, renderRefusal, renderUpgrade } from '@culvert/wire';
import type { ListenerMetrics } from './metrics.ts';
import type { Rendezvous } from './rendezvous.ts';

export interface TransferServerDeps {
  id: string;
  host: string;
  port: number;
  limits: Limits;
  log: Logger;
  metrics: ListenerMetrics;
  rendezvous: Rendezvous;
}

export interface TransferServer extends HandshakeServer {
  /** Transfer connections, closing ones included. */
  readonly transfers: number;
}

/** Devices do not open warm transfers again before this. */
const WARM_RETRY_MS = 60_000;

/** The internal HTTP server where devices open the transfers that they were dialled for. */
export async function serveTransfers(deps: TransferServerDeps): Promise<TransferServer> {
  const { limits, log, metrics } = deps;
  const transfers = new Set<Transfer>();
  const server = await serveHandshakes({
    host: deps.host,
    port: deps.port,
    limits,
    render: renderRefusal,
    onHandshake: (handshake) => {
      try {
        metrics.handshakes.inc({ outcome: accept(handshake, transfers, deps) ? 'ok' : 'gone' });
      } catch (error) {
        const refusal = error instanceof CulvertError ? error : new CulvertError('internal', undefined, { cause: error });
        if (refusal.code === 'internal') log.error({ event: 'transfer.bug', err: error });
        log.debug({ event: 'transfer.refused', code: refusal.code, message: refusal.message });
        metrics.handshakes.inc({ outcome: refusal.code });
        handshake.refuse(refusal);
      }
    },
  });
  return {
    get address() {
      return server.address;
    },
    get pending() {
      return server.pending;
    },
    get transfers() {
      return transfers.size;
    },
    close: async () => {
      for (const transfer of transfers) transfer.cut('wind_down');
      await server.close();
    },
  };
}

/** False when the device has left meanwhile. @throws CulvertError that says why the transfer is refused. */
function accept(handshake: Handshake, transfers: Set<Transfer>, { id, limits, rendezvous }: TransferServerDeps): boolean {
  const { request, socket, head } = handshake;
  const asked = parseTransferHandshake(request.method ?? '', request.url ?? '', request.headers);
  if (!asked.ok) throw new CulvertError(asked.code, asked.message);
  if (asked.listener !== id) throw new CulvertError('not_found', `this is listener ${id}, not ${asked.listener}`);
  if (asked.id === undefined) {
    throw new CulvertError('busy', 'no warm transfers are granted here', { retryAfterMs: WARM_RETRY_MS });
  }
  const ticket = rendezvous.claim(asked.id, digestOf(asked.token));
  if (ticket === 'not_found') throw new CulvertError('not_found', 'this id is unknown, used, or its dial is over');
  if (ticket === 'unauthorized') throw new CulvertError('unauthorized', 'this is not the token of the dialled device');
  if (!handshake.take()) {
    ticket.refused('local_timeout');
    return false;
  }
  const maxFrame = ticket.device.tenure?.max_frame ?? limits.MAX_FRAME_BYTES;
  socket.write(renderUpgrade(asked.key));
  const transfer = new Transfer(socket, { role: 'server', maxFrame, head, limits, onGone: () => transfers.delete(transfer) });
  transfers.add(transfer);
  ticket.attach(transfer);
  return true;
}
