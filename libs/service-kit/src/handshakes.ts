import { createServer, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { ErrorCode, Limits } from '@culvert/contracts';
import { listen } from './health.ts';
import type { ServedCertificate } from './served-certificate.ts';

export interface HandshakeRefusal {
  code: ErrorCode;
  message: string;
  retryAfterMs?: number | undefined;
}

/** One HTTP request that asks for an upgrade, its head read whole. Exactly one of refuse(), answer() and take() ends it. */
export interface Handshake {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  /** Bytes that came behind the head. */
  readonly head: Buffer;
  /** Aborted when the client left or HANDSHAKE_MS ran out: nobody waits for an answer any more. */
  readonly gone: AbortSignal;
  refuse(refusal: HandshakeRefusal): void;
  /** The client has shown who it is: it counts as pending no more, and may wait this long for its answer, in milliseconds. */
  admit(waitMs: number): void;
  /** Answers without an upgrade: the whole HTTP answer. Ends it as refuse() does. */
  answer(text: string): void;
  /** Hands the socket over, free of this server's deadline and listeners; false when the client has left already. */
  take(): boolean;
}

export interface HandshakeServerOptions {
  host: string;
  port: number;
  limits: Limits;
  /** Present: it speaks TLS. */
  certificate?: ServedCertificate | undefined;
  /** The whole HTTP answer of a refusal. */
  render(refusal: HandshakeRefusal): string;
  /** Requests without an upgrade come here as well: the handler's checks name what is missing. */
  onHandshake(handshake: Handshake): void;
}

export interface HandshakeServer {
  /** host:port, IPv6 in brackets. */
  readonly address: string;
  /** Sockets whose handshake is not over, and that were not admitted. */
  readonly pending: number;
  /** Stops listening and ends what is pending; sockets that were taken live on. */
  close(): Promise<void>;
}

/** Who is sent away comes back within this span: spread, so that all of them do not come at once again. */
const AWAY_MIN_MS = 2_000;
const AWAY_MAX_MS = 10_000;
const spreadMs = (): number => AWAY_MIN_MS + Math.random() * (AWAY_MAX_MS - AWAY_MIN_MS);

/**
 * An HTTP server for handshakes only: each is bounded in size (HANDSHAKE_BYTES) and time (HANDSHAKE_MS, from accept to
 * take), all of them in number (HANDSHAKES_PENDING). A refused client is given CLOSE_MS to read why. Where there is TLS, its
 * handshake may take as long by itself; who comes while too many are in it is cut.
 */
export async function serveHandshakes(options: HandshakeServerOptions): Promise<HandshakeServer> {
  const { limits, render, certificate } = options;
  const pending = new Map<Socket, Guard>();
  let admitted = 0;
  const bounds = {
    maxHeaderSize: limits.HANDSHAKE_BYTES,
    requestTimeout: 0, // the guard of each socket has the one deadline
    headersTimeout: 0,
    noDelay: true,
  };
  const server =
    certificate === undefined
      ? createServer(bounds)
      : createTlsServer({ ...bounds, ...certificate.pair, minVersion: 'TLSv1.2', handshakeTimeout: limits.HANDSHAKE_MS });
  const shaking = 'setSecureContext' in server ? boundTls(server, limits.HANDSHAKES_PENDING) : () => 0;
  if ('setSecureContext' in server) certificate?.follow(server, limits.TLS_FILES_MS);

  server.on(certificate === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    const full = pending.size - admitted >= limits.HANDSHAKES_PENDING;
    const guard = new Guard(socket, limits, render);
    pending.set(socket, guard);
    guard.onReleased = () => {
      pending.delete(socket);
      if (guard.admitted) admitted -= 1;
    };
    if (full) guard.refuse({ code: 'unavailable', message: 'too many handshakes at once', retryAfterMs: spreadMs() });
  });
  const start = (request: IncomingMessage, socket: Socket, head: Buffer): void => {
    const guard = pending.get(socket);
    if (guard?.begin() !== true) return;
    options.onHandshake({
      request,
      socket,
      head,
      gone: guard.gone,
      refuse: (refusal) => guard.refuse(refusal),
      admit: (waitMs) => {
        if (guard.admit(waitMs)) admitted += 1;
      },
      answer: (text) => guard.answer(text),
      take: () => guard.take(),
    });
  };
  server.on('upgrade', (request, socket, head) => start(request, socket as Socket, head));
  server.on('request', (request) => start(request, request.socket, Buffer.alloc(0)));
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const tooLarge = error.code === 'HPE_HEADER_OVERFLOW';
    const guard = pending.get(socket as Socket);
    if (guard === undefined) socket.destroy(); // its TLS handshake failed, or the client has left
    guard?.refuse({
      code: tooLarge ? 'too_large' : 'bad_request',
      message: tooLarge ? `the request's head is larger than ${limits.HANDSHAKE_BYTES} bytes` : 'this is not an HTTP/1.1 request',
    });
  });
  await listen(server, options.host, options.port);
  const { address, family, port } = server.address() as AddressInfo;
  return {
    address: family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`,
    get pending() {
      return pending.size - admitted + shaking();
    },
    close: async () => {
      certificate?.stop();
      const closed = new Promise((done) => server.close(done));
      for (const socket of pending.keys()) socket.destroy();
      await closed;
    },
  };
}

/** Cuts who comes while `most` are in their TLS handshakes; answers how many are. */
function boundTls(server: TlsServer, most: number): () => number {
  let open = 0;
  let secure = 0;
  server.on('connection', (raw: Socket) => {
    if (open - secure >= most) {
      raw.destroy();
      return;
    }
    open += 1;
    raw.once('close', () => (open -= 1));
  });
  server.on('secureConnection', (socket) => {
    secure += 1;
    socket.once('close', () => (secure -= 1));
  });
  return () => Math.max(0, open - secure); // of one connection, either may close first
}

/** Watches one socket from accept until its handshake is refused, taken, or the client leaves. */
class Guard {
  /** Called once, when the socket is closed or somebody else's. */
  onReleased: () => void = () => {};
  admitted = false;
  readonly #socket: Socket;
  readonly #limits: Limits;
  readonly #render: HandshakeServerOptions['render'];
  readonly #gone = new AbortController();
  #state: 'reading' | 'waiting' | 'refused' | 'over' = 'reading';
  #timer: NodeJS.Timeout;

  constructor(socket: Socket, limits: Limits, render: HandshakeServerOptions['render']) {
    this.#socket = socket;
    this.#limits = limits;
    this.#render = render;
    this.#timer = setTimeout(this.#late, limits.HANDSHAKE_MS);
    socket.on('close', this.#left);
    socket.on('error', this.#left);
    socket.on('end', this.#ended);
  }

  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** The head is complete. False when the answer is settled already. */
  begin(): boolean {
    if (this.#state !== 'reading') return false;
    this.#state = 'waiting';
    return true;
  }

  admit(waitMs: number): boolean {
    if (this.#state !== 'waiting' || this.admitted) return false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#late, waitMs);
    this.admitted = true;
    return true;
  }

  refuse(refusal: HandshakeRefusal): void {
    this.answer(this.#render(refusal));
  }

  answer(text: string): void {
    if (this.#state === 'refused' || this.#state === 'over') return;
    this.#state = 'refused';
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#socket.destroy(), this.#limits.CLOSE_MS);
    this.#gone.abort();
    this.#socket.end(text);
    this.#socket.resume(); // unread bytes would turn our close into a reset, and the answer would be lost
  }

  take(): boolean {
    if (this.#state !== 'waiting') return false;
    this.#release();
    this.#socket.off('close', this.#left).off('error', this.#left).off('end', this.#ended);
    return true;
  }

  readonly #late = (): void => {
    this.refuse(
      this.#state === 'reading'
        ? { code: 'bad_request', message: `the request's head was not complete within ${this.#limits.HANDSHAKE_MS} ms` }
        : { code: 'unavailable', message: 'the handshake could not be finished in time', retryAfterMs: spreadMs() },
    );
  };

  readonly #ended = (): void => {
    // A refused client that has ended its side still reads our answer.
    if (this.#state !== 'refused') this.#left();
  };

  readonly #left = (): void => {
    this.#socket.destroy();
    this.#release();
    this.#gone.abort();
  };

  #release(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    clearTimeout(this.#timer);
    this.onReleased();
  }
}
