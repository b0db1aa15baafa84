import { ACCESS_PATH, CulvertError, type Limits } from '@culvert/contracts';
import { Transfer, WarmHost } from '@culvert/relay';
import {
  digestOf,
  generationOf,
  type Handshake,
  type HandshakeServer,
  type Logger,
  type ServedCertificate,
  serveHandshakes,
} from '@culvert/service-kit';
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
  /** Where devices dial past the edge; with a certificate, by TLS. */
  published?: { host: string; port: number; certificate?: ServedCertificate | undefined } | undefined;
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
  /** How full the fuller of the two places for handshakes is, 0 to 1. */
  readonly fill: number;
}

/**
 * The internal HTTP server where devices open the transfers that they were dialled for, and warm ones, and operators come in; and,
 * where the listener is published, the one for devices alone. Who floods that one fills its own place for handshakes only.
 */
export async function serveTransfers(deps: TransferServerDeps): Promise<TransferServer> {
  const { limits, log, metrics, published } = deps;
  const transfers = new Set<Transfer>();
  const serve = (place: {
    host: string;
    port: number;
    certificate?: ServedCertificate | undefined;
  }): Promise<HandshakeServer> => {
    const way = place === published ? 'direct' : 'edge';
    metrics.handshakes.inc({ outcome: 'ok', way }, 0); // so that a way that nobody takes is seen
    return serveHandshakes({
      ...{ host: place.host, port: place.port, certificate: place.certificate, limits },
      render: renderRefusal,
      onHandshake: (handshake) => {
        try {
          const accepted = accept(handshake, transfers, deps, place === published);
          metrics.handshakes.inc({ outcome: accepted ? 'ok' : 'gone', way });
        } catch (error) {
          const refusal = error instanceof CulvertError ? error : new CulvertError('internal', undefined, { cause: error });
          if (refusal.code === 'internal') log.error({ event: 'transfer.bug', err: error });
          log.debug({ event: 'transfer.refused', code: refusal.code, message: refusal.message });
          metrics.handshakes.inc({ outcome: refusal.code, way });
          handshake.refuse(refusal);
        }
      },
    });
  };
  const server = await serve(deps);
  const servers = published === undefined ? [server] : [server, await serve(published)];
  return {
    get address() {
      return server.address;
    },
    get pending() {
      return servers.reduce((sum, { pending }) => sum + pending, 0);
    },
    get fill() {
      return Math.max(...servers.map(({ pending }) => pending)) / limits.HANDSHAKES_PENDING;
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
      await Promise.all(servers.map((one) => one.close()));
    },
  };
}

/** False when the device has left meanwhile. @throws CulvertError that says why the transfer is refused. */
function accept(handshake: Handshake, transfers: Set<Transfer>, deps: TransferServerDeps, published: boolean): boolean {
  const { id, limits, rendezvous } = deps;
  const { request, socket, head } = handshake;
  if (request.url?.startsWith(`${ACCESS_PATH}/`) && !published) return acceptOperator(handshake, transfers, deps);
  const asked = parseTransferHandshake(request.method ?? '', request.url ?? '', request.headers);
  if (!asked.ok) throw new CulvertError(asked.code, asked.message);
  if (asked.listener !== id) throw new CulvertError('not_found', `this is listener ${id}, not ${asked.listener}`);
  if (asked.id === undefined) return acceptWarm(handshake, asked, transfers, deps, published ? undefined : generationOf(request));
  const ticket = rendezvous.claim(asked.id, digestOf(asked.token));
  if (ticket === 'not_found') throw new CulvertError('not_found', 'this id is unknown, used, or its dial is over');
  if (ticket === 'unauthorized') throw new CulvertError('unauthorized', 'this is not the token of the dialled device');
  if (!handshake.take()) {
    ticket.refused('local_timeout');
    return false;
  }
  const maxFrame = ticket.device.tenure?.max_frame ?? limits.MAX_FRAME_BYTES;
  ticket.device.arrivedAt = performance.now();
  const answer = renderUpgrade(asked.key);
  const transfer = new Transfer(socket, {
    role: 'server',
    maxFrame,
    head,
    answer,
    limits,
    byEdge: !published,
    onGone: () => transfers.delete(transfer),
  });
  transfers.add(transfer);
  ticket.attach(transfer);
  return true;
}

function acceptWarm(
  handshake: Handshake,
  { key, token }: { key: string; token: string },
  transfers: Set<Transfer>,
  { limits, tenures, grants, heartbeatMs }: TransferServerDeps,
  generation: string | undefined,
): boolean {
  const device = tenures.holderOf(digestOf(token));
  if (device === undefined) throw new CulvertError('unauthorized', 'no device with this token has public ports here');
  grants.admit(device);
  if (!handshake.take()) return false;
  const { socket, head } = handshake;
  const maxFrame = device.tenure?.max_frame ?? limits.MAX_FRAME_BYTES;
  device.arrivedAt = performance.now();
  const host: WarmHost = new WarmHost(socket, {
    ...{ maxFrame, head, answer: renderUpgrade(key), limits, heartbeatMs, byEdge: generation !== undefined },
    onIdle: () => grants.returned(device, host),
    onGone: () => {
      transfers.delete(host.transfer);
      device.warm.gone(host);
    },
  });
  transfers.add(host.transfer);
  device.warm.add(host, generation ?? '');
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
