import {
  CONTROL_PATH,
  CulvertError,
  codeOfClose,
  DEAD_AFTER_HEARTBEATS,
  type ErrorCode,
  formatPortList,
  isErrorCode,
  type RefusedCode,
} from '@culvert/contracts';
import {
  type ControlEnding,
  ControlSocket,
  connectWebSocket,
  InlineMux,
  type InlineStream,
  type Swept,
  sweep,
  type UpgradedSocket,
} from '@culvert/relay';
import {
  type ByeMessage,
  type DialMessage,
  decodeMessage,
  type EndpointMessage,
  encodeMessage,
  INLINE_MESSAGE_MAX,
  type ReadyMessage,
} from '@culvert/wire';
import { targetOf } from './address.ts';
import type { AgentEndpoint, ReadyEvent } from './events.ts';
import { isToken, type Settings } from './options.ts';

/** A channel whose CLOSE is on its way is free soon. */
const INLINE_WAIT_MS = 3_000;

export interface ControlHandlers {
  onEndpoint(endpoint: AgentEndpoint): void;
  onDial(dial: DialMessage, from: Control): void;
}

/** A listener that may be dialled past the edge. */
export interface DirectAddress {
  url: URL;
  /** Takes the place of the device token, which is never sent there. */
  key: string;
}

/** Why a control connection is gone. */
export interface ControlLoss {
  code: ErrorCode;
  message: string;
}

/**
 * Opens a control connection and waits until the server says `ready`.
 *
 * @throws CulvertError as `connectWebSocket`; `unavailable` when the server does not become ready within HANDSHAKE_MS.
 */
export async function openControl(
  settings: Settings,
  server: URL,
  boot: string,
  signal: AbortSignal,
  handlers: ControlHandlers,
): Promise<Control> {
  const token = await within(settings.limits.HANDSHAKE_MS, 'the token was not there', settings.token());
  const query = new URLSearchParams({
    name: settings.name,
    ports: formatPortList([...settings.mappings.values()]),
    max_frame: String(settings.maxFrame),
    transfers: String(settings.transfers),
    ...(settings.inline === 0 ? {} : { inline: String(settings.inline) }),
    ...(settings.warm === 0 ? {} : { warm: String(settings.warm) }),
    boot,
  });
  const upgraded = await connectWebSocket(targetOf(settings, server, `${CONTROL_PATH}?${query}`, token, signal));
  const control = new Control(upgraded, upgraded.encrypted, settings, server, token, handlers);
  const onAbort = (): void => void control.leave();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await within(settings.limits.HANDSHAKE_MS, 'the server did not say ready', control.greeted);
    return control;
  } catch (err) {
    control.abandon();
    throw err;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/**
 * One control connection after its handshake:
 *
 *   greeting --ready--> ready --wind_down--> ready (the agent looks for another) --drop()--> closing --> gone
 *       \                 \--bye of either side, silence, broken---------------------------------------^
 *        \--no ready in time, refused by bye-----------------------------------------------------------^
 */
export class Control implements Swept {
  readonly server: URL;
  readonly token: string;
  /** Settles with the first `ready`; rejects when the connection is gone before. */
  readonly greeted: Promise<void>;
  /** Resolves with reconnect_ms when the server asks to move; else never. */
  readonly windDown: Promise<number>;
  /** Resolves once when it is gone. */
  readonly closed: Promise<ControlLoss>;
  /** When it became ready, in milliseconds of `performance.now()`. */
  since = 0;

  readonly #settings: Settings;
  readonly #encrypted: boolean;
  readonly #handlers: ControlHandlers;
  readonly #socket: ControlSocket;
  readonly #endpoints = new Map<number, AgentEndpoint>();
  readonly #greeted = Promise.withResolvers<void>();
  readonly #windDown = Promise.withResolvers<number>();
  readonly #closed = Promise.withResolvers<ControlLoss>();
  #ready: ReadyMessage | undefined;
  #inline: InlineMux | undefined;
  #bye: ByeMessage | undefined;

  constructor(
    upgraded: UpgradedSocket,
    encrypted: boolean,
    settings: Settings,
    server: URL,
    token: string,
    handlers: ControlHandlers,
  ) {
    this.server = server;
    this.token = token;
    this.#settings = settings;
    this.#encrypted = encrypted;
    this.#handlers = handlers;
    this.greeted = this.#greeted.promise;
    this.windDown = this.#windDown.promise;
    this.closed = this.#closed.promise;
    this.greeted.catch(() => {}); // whoever waits for it still hears of it
    this.#socket = new ControlSocket(upgraded, {
      role: 'client',
      mask: encrypted ? 'zero' : 'random',
      limits: settings.limits,
      onText: (text) => this.#onText(text),
      onGone: (ending) => this.#onGone(ending),
    });
  }

  /** What the server said of this tenure. Only to be asked once `greeted` has resolved. */
  get ready(): ReadyEvent {
    if (this.#ready === undefined) throw new CulvertError('internal', 'the control connection is not ready');
    const { epoch, resumed, grace_ms, heartbeat_ms } = this.#ready;
    const endpoints = [...this.#endpoints.values()];
    return { name: this.#settings.name, epoch, resumed, endpoints, graceMs: grace_ms, heartbeatMs: heartbeat_ms };
  }

  /** Where transfers may be dialled directly; undefined when nowhere, or when it would be less safe than this connection. */
  get direct(): DirectAddress | undefined {
    const { transfer_url: text, transfer_key: key } = this.#ready ?? {};
    if (text === undefined || key === undefined || !isToken(key) || !URL.canParse(text)) return undefined;
    const url = new URL(text);
    const secure = url.protocol === 'wss:';
    return secure || (url.protocol === 'ws:' && !this.#encrypted) ? { url, key } : undefined;
  }

  /** Inline transfers were granted here. */
  get hasInline(): boolean {
    return this.#inline !== undefined;
  }

  /** Answers a dial by an inline transfer; undefined when none was granted, or no channel is free within INLINE_WAIT_MS. */
  async openInline(path: string): Promise<InlineStream | undefined> {
    const mux = this.#inline;
    const end = performance.now() + INLINE_WAIT_MS;
    let channel = mux?.free;
    while (channel === undefined) {
      // another dial may have been quicker
      if (mux === undefined || !(await mux.until(() => mux.free !== undefined, end - performance.now()))) return undefined;
      channel = mux.free;
    }
    if (mux === undefined) return undefined;
    const credit = this.#settings.limits.INLINE_WINDOW_BYTES;
    const stream = mux.open(channel, credit);
    this.#socket.sendText(encodeMessage({ type: 'open', channel, path, credit }));
    return stream;
  }

  /** Waits until no inline transfer is open, at most `ms`: they end with this connection. */
  async quiet(ms: number): Promise<void> {
    await this.#inline?.until(() => this.#inline?.size === 0, ms);
  }

  /** Tells the server that a dial cannot be answered. */
  refuse(id: string, code: RefusedCode): void {
    this.#socket.sendText(encodeMessage({ type: 'refused', id, code }));
  }

  /** Tells the server how long our part of a traced dial took, in milliseconds. */
  traced(id: string, localMs: number, openMs: number): void {
    this.#socket.sendText(encodeMessage({ type: 'traced', id, local_ms: Math.round(localMs), open_ms: Math.round(openMs) }));
  }

  /** Says bye and closes, within CLOSE_MS; resolves when it is gone. */
  async leave(): Promise<void> {
    this.#socket.sendText(encodeMessage({ type: 'bye', code: 'bye', message: 'the agent stops' }));
    await this.drop();
  }

  /** Closes in order, without a bye: another connection of this agent holds the lease. */
  async drop(): Promise<void> {
    this.#socket.close();
    await this.closed;
  }

  /** Closes it for what is wrong beside it; the server is told by the close code. */
  giveUp(code: ErrorCode, message: string): void {
    this.#socket.close(code, message);
  }

  /** Gives up a connection that never became ready. */
  abandon(): void {
    this.#socket.kill('unavailable');
  }

  /** For the sweep. */
  check(now: number): void {
    if (!this.#silent(now)) return;
    // After a pause of the whole process its timers run before its sockets are read: read first, then judge.
    setImmediate(() => {
      if (this.#silent(performance.now())) this.#socket.kill('heartbeat_lost');
    });
  }

  #silent(now: number): boolean {
    const heartbeatMs = this.#ready?.heartbeat_ms ?? Number.POSITIVE_INFINITY;
    return this.#socket.open && now - this.#socket.lastInboundAt > heartbeatMs * DEAD_AFTER_HEARTBEATS;
  }

  #onText(text: string): void {
    const message = decodeMessage(text);
    switch (message.type) {
      case 'endpoint':
        this.#onEndpoint(message);
        break;
      case 'ready':
        this.#onReady(message);
        break;
      case 'dial':
        this.#handlers.onDial(message, this);
        break;
      case 'wind_down':
        this.#windDown.resolve(message.reconnect_ms);
        break;
      case 'bye':
        this.#bye = message;
        this.#socket.close();
        break;
      case 'fault':
        this.#socket.close('protocol_error', message.fault);
        break;
      default: // unknown, or of no meaning here: a later version may know better
    }
  }

  #onEndpoint({ port, url, host, public_port }: EndpointMessage): void {
    const scheme = this.#settings.mappings.get(port)?.scheme;
    if (scheme === undefined) return;
    let endpoint: AgentEndpoint;
    if (scheme === 'tcp') {
      if (host === undefined || public_port === undefined) return;
      endpoint = { port, scheme, host, publicPort: public_port };
    } else {
      if (url === undefined) return;
      endpoint = { port, scheme, url };
    }
    this.#endpoints.set(port, endpoint);
    this.#handlers.onEndpoint(endpoint);
  }

  #onReady(message: ReadyMessage): void {
    if (this.#ready !== undefined) return;
    this.#ready = message;
    if ((message.inline ?? 0) > 0) this.#takeInline(message.inline ?? 0);
    this.since = performance.now();
    sweep.add(this, message.heartbeat_ms * DEAD_AFTER_HEARTBEATS);
    this.#greeted.resolve();
  }

  #takeInline(granted: number): void {
    const { INLINE_WINDOW_BYTES: windowBytes, WRITE_MS: writeMs } = this.#settings.limits;
    const count = Math.min(granted, this.#settings.inline);
    if (count === 0) return; // nobody asked for it
    const onFault = (error: CulvertError): void => this.#socket.close(error.code, error.message);
    const mux = new InlineMux({
      ...{ role: 'device', count, windowBytes, writeMs, maxFrame: INLINE_MESSAGE_MAX },
      ...{ link: this.#socket, onFault },
    });
    this.#inline = mux;
    this.#socket.takeBinary(INLINE_MESSAGE_MAX, (message) => mux.receive(message));
  }

  #onGone(ending: ControlEnding): void {
    this.#inline?.end();
    sweep.delete(this);
    const loss = lossOf(ending, this.#bye);
    this.#settings.log({ event: 'control.closed', server: this.server.origin, epoch: this.#ready?.epoch, ...loss });
    this.#greeted.reject(new CulvertError(loss.code, loss.message));
    this.#closed.resolve(loss);
  }
}

function lossOf(ending: ControlEnding, bye: ByeMessage | undefined): ControlLoss {
  if (bye !== undefined) {
    const code = isErrorCode(bye.code) ? bye.code : 'bye';
    return { code, message: bye.message === '' ? `the server said bye: ${bye.code}` : bye.message };
  }
  if (ending.code === 'heartbeat_lost') return { code: 'heartbeat_lost', message: 'nothing was heard for 2.5 heartbeats' };
  const code = ending.code ?? codeOfClose(ending.close) ?? 'unavailable';
  const reason = ending.reason === '' ? '' : `: ${ending.reason}`;
  const message = ending.close === 1006 ? 'the connection broke' : `the connection was closed with ${ending.close}${reason}`;
  return { code, message };
}

async function within<T>(ms: number, what: string, work: T | Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new CulvertError('unavailable', `${what} within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
