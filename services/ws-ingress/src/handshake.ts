import { randomBytes } from 'node:crypto';
import type { BlockList } from 'node:net';
import { type Bus, errorOfRefusal } from '@culvert/bus';
import { CulvertError, ERRORS, type Limits, SUBPROTOCOL } from '@culvert/contracts';
import { digestOf, generationOf, type Handshake, isWellFormedToken, type Logger, remoteOf } from '@culvert/service-kit';
import { type ControlHandshake, parseControlHandshake } from '@culvert/wire';
import type { WebSocket, WebSocketServer } from 'ws';
import type { Connections } from './connections.ts';
import type { Tenure } from './control-connection.ts';
import type { Gate } from './gate.ts';
import type { InlineGrant } from './inline-transfers.ts';
import type { IngressMetrics } from './metrics.ts';
import type { Releases } from './releases.ts';
import type { Turns } from './turns.ts';

export interface HandshakeDeps {
  id: string;
  bus: Pick<Bus, 'request' | 'connected'>;
  limits: Limits;
  log: Logger;
  metrics: IngressMetrics;
  connections: Connections;
  releases: Releases;
  turns: Turns;
  gate: Gate;
  /** Whose word about addresses counts. */
  edges: BlockList;
  webSockets: WebSocketServer;
  /** The same for devices with inline transfers: it takes longer messages. */
  inlineWebSockets: WebSocketServer;
  windingDown(): boolean;
  /** This instance finds out what it has lost; it takes nobody until it has. */
  fenced(): boolean;
  onGranted(ws: WebSocket, tenure: Tenure, inline: InlineGrant | undefined): void;
}

const RETRY_MS = 2_000;
/** Of HANDSHAKE_MS may be spent in line; the rest is for the lease. */
const WAIT_SHARE = 0.4;
/** Another instance takes the device at once. */
const WIND_DOWN_RETRY_MS = 1_000;

/**
 * One handshake of a control connection: checked, its lease acquired, then 101. Every refusal is an HTTP status, since
 * all of them come before the 101. A client that leaves meanwhile leaves no tenure behind.
 */
export async function serveHandshake(handshake: Handshake, deps: HandshakeDeps): Promise<void> {
  const { connections, gate, limits, log, metrics, releases, turns } = deps;
  const { request } = handshake;
  const remote = remoteOf(handshake.request, deps.edges);
  const asked = parseControlHandshake(request.method ?? '', request.url ?? '', request.headers, limits);
  const startedAt = performance.now();
  let settled = (): void => {};
  let giveTurn = (): void => {};
  let digest: string | undefined;
  try {
    gate.enter(remote);
    if (!asked.ok) throw new CulvertError(asked.code, asked.message);
    if (deps.windingDown()) throw new CulvertError('wind_down', undefined, { retryAfterMs: WIND_DOWN_RETRY_MS });
    if (deps.fenced()) throw new CulvertError('unavailable', 'this instance is finding out what it holds');
    // A mistyped or invented token is told by its checksum; nobody on the bus is asked.
    digest = isWellFormedToken(asked.token) ? digestOf(asked.token) : undefined;
    gate.present(remote, digest);
    if (digest === undefined) throw new CulvertError('unauthorized', 'the device token is not valid');
    giveTurn = await turns.take(handshake.gone, limits.HANDSHAKE_MS * WAIT_SHARE);
    settled = connections.announce(asked.name);
    const tenure = await acquire(asked, remote, generationOf(request), deps);
    gate.right(tenure.token_digest);
    const count = Math.min(asked.inline, limits.INLINE_PER_DEVICE);
    const webSockets = count > 0 ? deps.inlineWebSockets : deps.webSockets;
    const ws = handshake.take() ? upgrade(handshake, asked.key, webSockets) : undefined;
    metrics.handshakes.inc({ outcome: ws === undefined ? 'gone' : 'ok' });
    if (ws === undefined) releases.add({ ...tenure, reason: 'connection_broken' });
    else deps.onGranted(ws, tenure, count > 0 ? { count, token: asked.token } : undefined);
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal.code === 'unauthorized' || refusal.code === 'forbidden') gate.wrong(remote);
    if (refusal.code === 'internal') log.error({ event: 'handshake.bug', err: error });
    const device = asked.ok ? asked.name : undefined;
    log.info({ event: 'handshake.refused', device, remote, code: refusal.code, message: refusal.message });
    metrics.handshakes.inc({ outcome: handshake.gone.aborted ? 'gone' : refusal.code });
    handshake.refuse(refusal);
  } finally {
    metrics.handshakeSeconds.observe((performance.now() - startedAt) / 1000);
    settled();
    giveTurn();
  }
}

async function acquire(asked: ControlHandshake, remote: string, generation: string, deps: HandshakeDeps): Promise<Tenure> {
  const { bus, id, limits, releases } = deps;
  if (!bus.connected) throw new CulvertError('unavailable', 'the message bus is away', { retryAfterMs: RETRY_MS });
  const { name: device, ports, boot, warm, transfers, max_frame, token } = asked;
  const control = randomBytes(12).toString('base64url');
  const brought = { boot, remote, warm, transfers, max_frame, token_digest: digestOf(token) };
  const wanted = { device, ports, ingress: id, control, ...brought };
  const reply = await bus.request('lease.acquire', wanted, { timeoutMs: limits.ACQUIRE_MS }).catch((cause: unknown) => {
    releases.addUnknown(device, control);
    throw new CulvertError('unavailable', 'no lease-manager answered', { cause, retryAfterMs: RETRY_MS });
  });
  if (!reply.ok) throw errorOfRefusal(reply);
  const { epoch, listener, endpoints, grace_ms: graceMs, resumed, direct } = reply;
  return { device, epoch, control, ...brought, generation, since: Date.now(), listener, endpoints, graceMs, resumed, direct };
}

/** Undefined when the client has left. Our own checks were stricter than those of `ws`, which sees their result. */
function upgrade({ request, socket, head }: Handshake, key: string, webSockets: WebSocketServer): WebSocket | undefined {
  let upgraded: WebSocket | undefined;
  Object.assign(request.headers, { upgrade: 'websocket', 'sec-websocket-key': key, 'sec-websocket-protocol': SUBPROTOCOL });
  webSockets.handleUpgrade(request, socket, head, (ws) => {
    upgraded = ws;
  });
  return upgraded;
}

export function refusalOf(error: unknown): CulvertError {
  if (!(error instanceof CulvertError)) return new CulvertError('internal', undefined, { cause: error });
  const { http } = ERRORS[error.code];
  if (http === null) return new CulvertError('unavailable', error.message, { cause: error, retryAfterMs: RETRY_MS });
  const mustSayWhen = http === 503 || http === 429;
  if (!mustSayWhen || error.retryAfterMs !== undefined) return error;
  return new CulvertError(error.code, error.message, { cause: error.cause, retryAfterMs: RETRY_MS });
}
