import type { Bus } from '@culvert/bus';
import {
  CulvertError,
  type DisconnectReason,
  type Endpoint,
  ERRORS,
  type ErrorCode,
  type Limits,
  type RefusedCode,
} from '@culvert/contracts';
import type { Logger, Tracing } from '@culvert/service-kit';
import { type Decoded, decodeMessage, encodeMessage, type Message } from '@culvert/wire';
import { type RawData, WebSocket } from 'ws';
import type { HeartbeatWheel } from './heartbeats.ts';
import { type InlineDeps, type InlineGrant, InlineTransfers } from './inline-transfers.ts';
import type { IngressMetrics } from './metrics.ts';
import type { PublicSide } from './public-side.ts';
import type { Releases } from './releases.ts';

/** What the lease-manager granted. */
export interface Tenure {
  device: string;
  epoch: number;
  /** Id of this control connection; the store has it too. */
  control: string;
  boot: string;
  remote: string;
  /** The generation of the edge's workers through which it came; empty when it came past all edges. */
  generation: string;
  warm: number;
  transfers: number;
  max_frame: number;
  token_digest: string;
  /** Milliseconds since 1970. */
  since: number;
  /** They change when the lease moves to another listener. */
  listener: string;
  endpoints: Endpoint[];
  graceMs: number;
  resumed: boolean;
  /** Where the device may dial transfers past the edge, if the listener is published. */
  direct: { url: string; key: string } | undefined;
}

/** What a device is asked for. */
export interface Dial {
  id: string;
  port: number;
  path: string;
  visitor: string;
  listener: string;
  canary?: boolean;
  /** Of whoever asks, when the visit is traced. */
  traceparent?: string | undefined;
}

export interface ControlDeps {
  bus: Pick<Bus, 'requestOf'>;
  limits: Limits;
  log: Logger;
  heartbeatMs: number;
  wheel: HeartbeatWheel;
  releases: Releases;
  metrics: IngressMetrics;
  inline: InlineDeps;
  /** Undefined: visitors are not traced. */
  tracing?: Pick<Tracing, 'agentPart'> | undefined;
  publicSide: PublicSide;
  /** The tenure is over here; called once, before the closing handshake. */
  onEnded(connection: ControlConnection): void;
}

/** Endings that the store decided itself: it needs no release. */
const STORE_KNOWS: ReadonlySet<ErrorCode> = new Set(['moved', 'superseded', 'revoked', 'lease_lost']);
/** Close codes of a device that leaves in order; 1005 is a close frame without a code. */
const IN_ORDER = new Set([1000, 1001, 1005]);
/** Headers of short frames; those of clients have a mask. A ping that is answered counts twice: it and its pong. */
const SERVER_FRAME_BYTES = 2;
const CLIENT_FRAME_BYTES = 6;
const CLOSE_REASON_BYTES = 123;

/**
 * One control connection, from its 101 to its end:
 *
 *   open --bye, close frame, broken, silent, faulty, told to--> ended --closing handshake or CLOSE_MS--> (closed)
 *
 * Owns the WebSocket. Ending releases the tenure at once; the closing handshake follows for politeness only.
 */
export class ControlConnection {
  readonly tenure: Tenure;
  heardAt = performance.now();
  readonly #ws: WebSocket;
  readonly #deps: ControlDeps;
  readonly #startedAt = performance.now();
  #bytes = 0;
  /** Dials that the device may still refuse: id → who asked, and until when. In order of time. */
  readonly #dials = new Map<
    string,
    { listener: string; until: number; trace: { parent: string; askedAt: number } | undefined }
  >();
  readonly #probes = new Set<() => void>();
  readonly #inline: InlineTransfers | undefined;
  #ended = false;
  #asked = false;
  #second = 0;
  #messages = 0;

  constructor(ws: WebSocket, tenure: Tenure, deps: ControlDeps, inline?: InlineGrant) {
    this.#ws = ws;
    this.tenure = tenure;
    this.#deps = deps;
    if (inline !== undefined) {
      const device = { name: tenure.device, maxFrame: tenure.max_frame };
      this.#inline = new InlineTransfers(ws, device, inline, deps.inline, {
        refuse: (id) => this.#onRefused(id, 'busy'),
        onFault: (error) => this.#fault(error.message),
      });
    }
    ws.on('message', (data, isBinary) => this.#onMessage(data, isBinary));
    ws.on('ping', (data) => this.#onFrame(data.length));
    ws.on('pong', (data) => this.#onFrame(data.length));
    ws.on('error', (error) => this.#onError(error));
    ws.on('close', (code) => this.#end(IN_ORDER.has(code) ? 'closed' : 'connection_broken'));
  }

  get device(): string {
    return this.tenure.device;
  }
  get epoch(): number {
    return this.tenure.epoch;
  }
  get boot(): string {
    return this.tenure.boot;
  }

  /** Tells the device what it has, and starts its heartbeat. */
  start(): void {
    const { epoch, endpoints, graceMs, resumed, remote, direct } = this.tenure;
    const { heartbeatMs, log, wheel } = this.#deps;
    this.sendEndpoints(endpoints);
    const granted = this.#inline === undefined ? {} : { inline: this.#inline.count };
    const past = direct === undefined ? {} : { transfer_url: direct.url, transfer_key: direct.key };
    this.#send({ type: 'ready', epoch, heartbeat_ms: heartbeatMs, grace_ms: graceMs, resumed, ...past, ...granted });
    if (this.#ended) return;
    wheel.add(this);
    log.info({ event: 'control.ready', device: this.device, epoch, remote, resumed });
  }

  sendEndpoints(endpoints: readonly Endpoint[]): void {
    for (const endpoint of endpoints) this.#send(this.#deps.publicSide(endpoint, this.tenure.listener));
  }

  /** The lease has moved: the device is told where its endpoints are now. */
  moveTo(listener: string, endpoints: Endpoint[]): void {
    Object.assign(this.tenure, { listener, endpoints });
    this.sendEndpoints(endpoints);
  }

  /** @throws CulvertError `unavailable` when the message could not be handed to the socket. */
  dial(dial: Dial): void {
    const { id, port, path, visitor, listener, traceparent } = dial;
    const more = { ...(dial.canary === true ? { canary: true } : {}), ...(traceparent === undefined ? {} : { traceparent }) };
    this.#forgetDials();
    const trace = traceparent === undefined ? undefined : { parent: traceparent, askedAt: Date.now() };
    this.#dials.set(id, { listener, until: performance.now() + this.#deps.limits.DIAL_MS, trace });
    if (!this.#send({ type: 'dial', id, port, path, visitor: visitor.slice(0, 128), ...more })) {
      throw new CulvertError('unavailable', 'the control connection takes no more messages');
    }
  }

  /** Asks the device, once, to connect anew within that time: this instance stops, or the edge's workers in between do. */
  windDown(reconnectMs: number): void {
    if (this.#asked) return;
    this.#asked = true;
    this.#send({ type: 'wind_down', reconnect_ms: reconnectMs });
  }

  /** Asks for a sign of life: true as soon as any frame comes in, false after PROBE_MS. */
  async probe(): Promise<boolean> {
    if (this.#ended) return false;
    return new Promise((resolve) => {
      const settle = (alive: boolean): void => {
        clearTimeout(timer);
        this.#probes.delete(heard);
        resolve(alive);
      };
      const heard = (): void => settle(!this.#ended);
      const timer = setTimeout(() => settle(false), this.#deps.limits.PROBE_MS);
      this.#probes.add(heard);
      this.ping();
    });
  }

  ping(): void {
    this.#forgetDials();
    if (!this.#roomFor(2)) return;
    this.#bytes += SERVER_FRAME_BYTES;
    this.#ws.ping();
  }

  lost(): void {
    this.#deps.metrics.heartbeatLosses.inc();
    this.#end('heartbeat_lost', 'heartbeat_lost');
  }

  /** Ends it from our side. The store is told, unless the code says that it knows. */
  close(code: ErrorCode, message: string, reason: DisconnectReason = 'connection_broken'): void {
    this.#end(STORE_KNOWS.has(code) ? undefined : reason, code, message);
  }

  /** Bytes of frames in both directions since it was asked last. */
  takeBytes(): number {
    const bytes = this.#bytes;
    this.#bytes = 0;
    return bytes;
  }

  /** Resolves when the socket is gone; at the latest CLOSE_MS after the end. */
  async closed(): Promise<void> {
    if (this.#ws.readyState !== WebSocket.CLOSED) await new Promise((done) => this.#ws.once('close', done));
  }

  #onFrame(length: number): void {
    this.#bytes += length + CLIENT_FRAME_BYTES;
    this.heardAt = performance.now();
    for (const heard of this.#probes) heard();
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    this.#onFrame(byteLengthOf(data));
    if (this.#ended) return;
    if (isBinary && this.#inline !== undefined) {
      this.#obeyInline(() => this.#inline?.receive(data as Buffer)); // `ws` gives one buffer unless told otherwise
      return;
    }
    const second = Math.floor(this.heardAt / 1000);
    this.#messages = second === this.#second ? this.#messages + 1 : 1;
    this.#second = second;
    const most = this.#deps.limits.CONTROL_MESSAGES_PER_SECOND;
    if (this.#messages > most) this.#end('protocol_error', 'rate_limited', `more than ${most} messages in a second`);
    else if (isBinary) this.#fault('a binary message came on the control connection; expected JSON text');
    else this.#obey(decodeMessage(data.toString()));
  }

  #obey(message: Decoded): void {
    if (message.type === 'fault') this.#fault(message.fault);
    else if (message.type === 'refused') this.#onRefused(message.id, message.code);
    else if (message.type === 'traced') this.#trace(message.id, 'ok', message.local_ms, message.open_ms);
    else if (message.type === 'bye') this.#end('bye', 'bye');
    else if (message.type === 'open' && this.#inline !== undefined) this.#obeyInline(() => this.#inline?.open(message));
    // Types of later versions, and those that only we send, mean nothing to us.
    else this.#deps.log.debug({ event: 'control.ignored', device: this.device, type: message.type });
  }

  #obeyInline(obey: () => void): void {
    try {
      obey();
    } catch (error) {
      if (!(error instanceof CulvertError)) throw error;
      this.#end('protocol_error', error.code, error.message);
    }
  }

  /** The device's part of a traced dial is over; it is told once. */
  #trace(id: string, outcome: string, localMs?: number, openMs?: number): void {
    const dial = this.#dials.get(id);
    if (dial?.trace === undefined) return;
    this.#deps.tracing?.agentPart({ device: this.device, ...dial.trace, outcome, localMs, openMs });
    dial.trace = undefined;
  }

  #onRefused(id: string, code: RefusedCode): void {
    this.#trace(id, code);
    const listener = this.#dials.get(id)?.listener;
    if (listener === undefined) return; // not asked, answered already, or too late
    this.#dials.delete(id);
    const { device, epoch } = this;
    this.#deps.bus
      .requestOf(listener, 'listener.refused', { device, epoch, id, code })
      .catch((err: Error) => this.#deps.log.debug({ event: 'control.refused_lost', device, id, err: err.message }));
  }

  #onError(error: Error & { code?: string }): void {
    // `ws` has sent the close code of its own faults (1009 for a message too large, 1002, 1007) when it says so.
    if (error.code?.startsWith('WS_ERR_')) this.#end('protocol_error');
    else this.#end('connection_broken');
  }

  #fault(message: string): void {
    this.#end('protocol_error', 'protocol_error', message);
  }

  #forgetDials(): void {
    const now = performance.now();
    for (const [id, { until }] of this.#dials) {
      if (until > now) return;
      this.#dials.delete(id);
    }
  }

  #roomFor(bytes: number): boolean {
    if (this.#ended || this.#ws.readyState !== WebSocket.OPEN) return false;
    if (this.#ws.bufferedAmount + bytes <= this.#deps.limits.CONTROL_BUFFER_BYTES) return true;
    this.#end('connection_broken');
    this.#ws.terminate();
    return false;
  }

  #send(message: Message): boolean {
    const text = encodeMessage(message);
    if (!this.#roomFor(text.length)) return false;
    this.#bytes += Buffer.byteLength(text) + SERVER_FRAME_BYTES;
    this.#ws.send(text);
    return true;
  }

  /** The one way out. `reason` tells the store, `code` the device; both only when they need telling. */
  #end(reason: DisconnectReason | undefined, code?: ErrorCode, message?: string): void {
    if (this.#ended) return;
    if (code !== undefined) this.#send({ type: 'bye', code, message: (message ?? ERRORS[code].meaning).slice(0, 256) });
    if (this.#ended) return; // the bye found no room and ended it
    this.#ended = true;
    this.#inline?.end();
    const { device, epoch, control } = this.tenure;
    const { wheel, releases, log } = this.#deps;
    wheel.delete(this);
    for (const settle of this.#probes) settle();
    this.#deps.onEnded(this);
    if (reason !== undefined) releases.add({ device, epoch, control, reason });
    if (code !== undefined) this.#ws.close(ERRORS[code].close ?? 1000, utf8Prefix(message ?? code, CLOSE_REASON_BYTES));
    const seconds = Math.round((performance.now() - this.#startedAt) / 1000);
    log.info({ event: 'control.ended', device, epoch, reason: reason ?? code, message, seconds });
  }
}

const byteLengthOf = (data: RawData): number =>
  Array.isArray(data) ? data.reduce((sum, part) => sum + part.length, 0) : data.byteLength;

/** The longest prefix of at most `bytes` bytes that cuts no character in two. */
function utf8Prefix(text: string, bytes: number): string {
  let prefix = text.slice(0, bytes);
  while (Buffer.byteLength(prefix) > bytes) prefix = prefix.slice(0, -1);
  return prefix;
}
