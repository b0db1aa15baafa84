import { CulvertError, codeOfClose, type ErrorCode, INLINE_DATA_MAX, isErrorCode, type Limits } from '@culvert/contracts';
import { closeCodeOf, dialTransfer, InlineMux, type InlineStream } from '@culvert/relay';
import type { Logger } from '@culvert/service-kit';
import { handshakePath, INLINE_HEADER, type OpenMessage } from '@culvert/wire';
import type { WebSocket } from 'ws';
import type { ListenerAddresses } from './listener-addresses.ts';
import type { IngressMetrics } from './metrics.ts';

/** What inline transfers of all devices share. */
export interface InlineDeps {
  limits: Limits;
  log: Logger;
  metrics: Pick<IngressMetrics, 'inline'>;
  listeners: ListenerAddresses;
  /** Inline transfers open in this process, at most INLINE_PER_INGRESS. */
  budget: { open: number };
}

/** What a device asked for and brought. */
export interface InlineGrant {
  /** How many transfers at once. */
  count: number;
  /** The device token: transfers at the listener are opened in the device's name. Never log it. */
  token: string;
}

/**
 * The inline transfers of one device. The listener sees an ordinary transfer connection for each:
 *
 *   open --listener dialled--> admitted, spliced --both directions ended--> CLOSE 1000
 *     \--no listener, 404, too many------------------------------------------> CLOSE with the code
 *                                 \--a side breaks---------------------------> CLOSE, or the device's CLOSE passed on
 *
 * Memory: INLINE_WINDOW_BYTES each from the device, and one read each towards it.
 */
export class InlineTransfers {
  readonly #mux: InlineMux;
  readonly #device: string;
  readonly #grant: InlineGrant;
  readonly #deps: InlineDeps;
  /** The device has no more to say: the visitor of this dial is refused. */
  readonly #refuse: (id: string) => void;

  constructor(
    ws: WebSocket,
    device: { name: string; maxFrame: number },
    grant: InlineGrant,
    deps: InlineDeps,
    handlers: { refuse(id: string): void; onFault(error: CulvertError): void },
  ) {
    const { limits } = deps;
    this.#device = device.name;
    this.#grant = grant;
    this.#deps = deps;
    this.#refuse = handlers.refuse;
    this.#mux = new InlineMux({
      role: 'server',
      count: grant.count,
      windowBytes: limits.INLINE_WINDOW_BYTES,
      maxFrame: Math.min(device.maxFrame, INLINE_HEADER + INLINE_DATA_MAX),
      writeMs: limits.WRITE_MS,
      link: {
        get unsent() {
          return ws.bufferedAmount;
        },
        sendBinary: (payload, flushed) => {
          if (ws.readyState === ws.OPEN) ws.send(payload, { binary: true }, () => flushed());
        },
      },
      onFault: handlers.onFault,
    });
  }

  get count(): number {
    return this.#grant.count;
  }

  /** @throws CulvertError when the device broke the protocol. */
  open({ channel, path, credit }: OpenMessage): void {
    const stream = this.#mux.open(channel, credit);
    void this.#serve(stream, path);
  }

  /** A binary message came. @throws CulvertError when the device broke the protocol. */
  receive(message: Buffer): void {
    this.#mux.receive(message);
  }

  /** The control connection is over. */
  end(): void {
    this.#mux.end();
  }

  async #serve(stream: InlineStream, path: string): Promise<void> {
    const { budget, limits, log, metrics } = this.#deps;
    const stop = new AbortController();
    stream.onPeerClose = (close) => {
      if (!stream.bothEnded) stop.abort(new CulvertError(codeOfClose(close) ?? 'peer_reset'));
    };
    let outcome = 'internal';
    budget.open += 1;
    try {
      if (budget.open > limits.INLINE_PER_INGRESS) {
        this.#refuse(path.split('/').at(-1) ?? '');
        throw new CulvertError('busy', 'this instance carries as many inline transfers as it can');
      }
      const transfer = await this.#dial(path, stop.signal);
      this.#mux.admit(stream);
      // A stream is all that a splice asks of a socket that is not plain TCP.
      const result = await transfer.splice(stream as unknown as Parameters<typeof transfer.splice>[0], { signal: stop.signal });
      outcome = result.outcome;
    } catch (error) {
      outcome = error instanceof CulvertError ? error.code : 'internal';
      if (outcome === 'internal') log.error({ event: 'inline.bug', device: this.#device, err: error });
    } finally {
      budget.open -= 1;
    }
    stream.closeWith(closeCodeOf(codeOf(outcome)));
    metrics.inline.inc({ outcome });
    log.debug({ event: 'inline.closed', device: this.#device, channel: stream.channel, outcome });
  }

  async #dial(path: string, signal: AbortSignal) {
    const { limits, listeners } = this.#deps;
    const asked = handshakePath(path);
    if (asked?.kind !== 'transfer' || path.includes('?')) throw new CulvertError('not_found', 'this is no path of a dial');
    const address = await listeners.find(asked.listener);
    signal.throwIfAborted();
    if (address === undefined) throw new CulvertError('unavailable', `listener ${asked.listener} is not known`);
    const { token } = this.#grant;
    return dialTransfer({ ...address, path, token, signal, deadlineMs: limits.HANDSHAKE_MS }, { limits });
  }
}

/** The code of the error table for an outcome of a splice: what is none there was a break. */
function codeOf(outcome: string): ErrorCode {
  if (outcome === 'ok') return 'bye';
  return isErrorCode(outcome) && closeCodeOf(outcome) >= 4000 ? outcome : 'peer_reset';
}
