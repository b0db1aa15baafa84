import { ACCESS_PATH, CulvertError, type Limits } from '@culvert/contracts';
import { Transfer, WarmHost } from '@culvert/relay';
import { digestOf, type Handshake, type HandshakeServer, type Logger, serveHandshakes } from '@culvert/service-kit';
import { parseAccessHandshake, parseTransferHandshake, renderRefusal, renderUpgrade } from '@culvert/wire';
import type { ListenerMetrics } from './metrics.ts';
import type { OperatorVisits } from './operator-visits.ts';
import type { Rendezvous } from './rendezvous.ts';
import type { Tenures } from './tenures.ts';
import type { WarmGrants } from './warm-grants.ts';

export interface TransferServerDeps {
  id: string;
  host: string;
  port: number;
  limits: Limits;
  log: Logger;
  metrics: ListenerMetrics;
  rendezvous: Rendezvous;
  tenures: Tenures;
  grants: WarmGrants;
  operators: OperatorVisits;
  /** Warm transfers that wait are pinged this often. */
  heartbeatMs: number;
}

export interface TransferServer extends HandshakeServer {
  /** Transfer connections, closing ones included. */
  readonly transfers: number;
  /** Bytes that wait for slow peers of them. */
  readonly buffered: number;
}

/** The internal HTTP server where devices open the transfers that they were dialled for, and warm ones, and operators come in. */
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
    get buffered() {
      let bytes = 0;
      for (const { unflushed } of transfers) bytes += unflushed;
      return bytes;
    },
    close: async () => {
      for (const transfer of transfers) transfer.cut('wind_down');
      await server.close();
    },
  };
}

/** False when the device has left meanwhile. @throws CulvertError that says why the transfer is refused. */
function accept(handshake: Handshake, transfers: Set<Transfer>, deps: TransferServerDeps): boolean {
  const { id, limits, rendezvous } = deps;
  const { request, socket, head } = handshake;
  if (request.url?.startsWith(`${ACCESS_PATH}/`)) return acceptOperator(handshake, transfers, deps);
  const asked = parseTransferHandshake(request.method ?? '', request.url ?? '', request.headers);
  if (!asked.ok) throw new CulvertError(asked.code, asked.message);
  if (asked.listener !== id) throw new CulvertError('not_found', `this is listener ${id}, not ${asked.listener}`);
  if (asked.id === undefined) return acceptWarm(handshake, asked, transfers, deps);
  const ticket = rendezvous.claim(asked.id, digestOf(asked.token));
  if (ticket === 'not_found') throw new CulvertError('not_found', 'this id is unknown, used, or its dial is over');
  if (ticket === 'unauthorized') throw new CulvertError('unauthorized', 'this is not the token of the dialled device');
  if (!handshake.take()) {
    ticket.refused('local_timeout');
    return false;
  }
  const maxFrame = ticket.device.tenure?.max_frame ?? limits.MAX_FRAME_BYTES;
  socket.write(renderUpgrade(asked.key));
  ticket.device.arrivedAt = performance.now();
  const transfer = new Transfer(socket, { role: 'server', maxFrame, head, limits, onGone: () => transfers.delete(transfer) });
  transfers.add(transfer);
  ticket.attach(transfer);
  return true;
}

function acceptWarm(
  handshake: Handshake,
  { key, token }: { key: string; token: string },
  transfers: Set<Transfer>,
  { limits, tenures, grants, heartbeatMs }: TransferServerDeps,
): boolean {
  const device = tenures.holderOf(digestOf(token));
  if (device === undefined) throw new CulvertError('unauthorized', 'no device with this token has public ports here');
  grants.admit(device);
  if (!handshake.take()) return false;
  const { socket, head } = handshake;
  const maxFrame = device.tenure?.max_frame ?? limits.MAX_FRAME_BYTES;
  socket.write(renderUpgrade(key));
  device.arrivedAt = performance.now();
  const host: WarmHost = new WarmHost(socket, {
    ...{ maxFrame, head, limits, heartbeatMs },
    onIdle: () => grants.returned(device, host),
    onGone: () => {
      transfers.delete(host.transfer);
      device.warm.gone(host);
    },
  });
  transfers.add(host.transfer);
  device.warm.idle(host, true);
  return true;
}

function acceptOperator(handshake: Handshake, transfers: Set<Transfer>, { id, limits, operators }: TransferServerDeps): boolean {
  const { method = '', url = '', headers } = handshake.request;
  const asked = parseAccessHandshake(method, url, headers, limits);
  if (!asked.ok) throw new CulvertError(asked.code, asked.message);
  if (asked.listener !== id) throw new CulvertError('not_found', `this is listener ${id}, not ${asked.listener}`);
  operators.serve(handshake, asked, transfers);
  return true;
}
