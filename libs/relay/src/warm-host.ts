import type net from 'node:net';
import { CulvertError, DEFAULT_LIMITS, type ErrorCode } from '@culvert/contracts';
import type { Message } from '@culvert/wire';
import type { Splice, SpliceResult } from './splice.ts';
import { type SpliceOptions, Transfer, type TransferOptions } from './transfer.ts';

/** The device did not take the visitor: here it is again, unharmed, for another transfer's `splice`. */
export interface NotTaken {
  outcome: 'not_taken';
  /** What the device said, `dial_timeout` when it said nothing in time, or what ended the transfer. */
  code: ErrorCode;
  /** Paused, and owned by the caller again. */
  tcp: net.Socket;
  /** What was read of it; no target can have seen it. */
  early: Buffer;
}

export interface OfferOptions extends SpliceOptions {
  /** The device has a target for the visitor: from here on it is served. `localMs`: how long that took, if it was traced and the device says so. */
  onAccepted?(localMs: number | undefined): void;
}

export interface WarmHostOptions extends Omit<TransferOptions, 'role' | 'mask'> {
  /** The device can take the next visitor. Not called at the start, when it can too. */
  onIdle?(): void;
}

/**
 * The server's end of a warm transfer:
 *
 *   idle --offer()--> offered --accepted--> serving --both ENDs, flushed--> served --idle--> idle
 *     ^                | | \--WARM_ACCEPT_MS, closed--> visitor handed back, gone    (`idle` may come before our flush)
 *     \---refused------/ \--visitor gone--> closed
 */
export class WarmHost {
  readonly transfer: Transfer;
  readonly #options: WarmHostOptions;
  readonly #acceptMs: number;
  #offer:
    | { splice: Splice; until: number; onAccepted?: OfferOptions['onAccepted']; resolve(result: SpliceResult | NotTaken): void }
    | undefined;
  #lastId = '';
  /** Its last visitor spoke before the device did: the next one's first bytes are worth waiting for. */
  #visitorsSpeakFirst = true;
  #deviceIdle = true;
  #splice: Splice | undefined;

  /** @throws CulvertError `peer_reset` when the socket is already gone. */
  constructor(socket: net.Socket, options: WarmHostOptions) {
    this.#options = options;
    this.#acceptMs = (options.limits ?? DEFAULT_LIMITS).WARM_ACCEPT_MS;
    this.transfer = new Transfer(
      socket,
      { ...options, role: 'server' },
      {
        onMessage: (message) => this.#onMessage(message),
        onServed: () => this.#becomeIdle(),
        onClosing: (code) => this.#withdraw(code),
        check: (now) => this.#check(now),
      },
    );
    this.transfer.stray = 'fault';
  }

  /** It can be offered a visitor. */
  get idle(): boolean {
    return this.transfer.open && this.#deviceIdle && !this.transfer.busy;
  }

  /** The device has not answered yet for the visitor it was given. */
  get offered(): boolean {
    return this.#offer !== undefined;
  }

  /**
   * Gives a visitor to the device, and splices once it is accepted. Until then at most 16 KiB of the visitor are sent, and
   * kept; aborted until then, the visitor is handed back. Never rejects.
   *
   * @throws CulvertError `internal` unless it is `idle`.
   */
  offer(
    tcp: net.Socket,
    visitor: { id: string; port: number; visitor: string; traceparent?: string | undefined },
    options: OfferOptions = {},
  ): Promise<SpliceResult | NotTaken> {
    if (!this.idle) throw new CulvertError('internal', 'a warm transfer was offered a visitor while it was not idle');
    const splice = this.transfer.join(tcp, true);
    if (splice === undefined) return Promise.resolve({ outcome: 'visitor_gone', toDevice: 0, toVisitor: 0 });
    const { promise, resolve } = Promise.withResolvers<SpliceResult | NotTaken>();
    this.#lastId = visitor.id;
    this.#deviceIdle = false;
    this.#splice = splice;
    this.#offer = { splice, until: performance.now() + this.#acceptMs, onAccepted: options.onAccepted, resolve };
    const { id, port, traceparent } = visitor;
    const trace = traceparent === undefined ? {} : { traceparent };
    const assign = { type: 'assign', id, port, visitor: visitor.visitor, ...trace } as const;
    if (this.#visitorsSpeakFirst) this.transfer.sendBeforeData(assign);
    else this.transfer.send(assign);
    this.transfer.run(splice, options, (result) => {
      this.#visitorsSpeakFirst = splice.tcpSpokeFirst ?? this.#visitorsSpeakFirst;
      this.#offerOver(splice);
      resolve(result);
    });
    return promise;
  }

  /** The device has had its time to accept. */
  #check(now: number): void {
    if (this.#offer !== undefined && now >= this.#offer.until) this.transfer.cut('dial_timeout');
  }

  #onMessage(message: Message): string | undefined {
    if (message.type !== 'accepted' && message.type !== 'refused' && message.type !== 'idle') {
      return `message ${message.type} is not one that a device sends on a transfer connection`;
    }
    if (message.id !== this.#lastId) return `message ${message.type} names a visitor that is not on this transfer`;
    if (message.type === 'idle') {
      if (this.#deviceIdle || this.#splice?.bothEnded !== true) return 'idle before both directions had ended';
      this.#deviceIdle = true;
      if (!this.transfer.busy) this.#options.onIdle?.();
      return undefined;
    }
    const offer = this.#offer;
    if (offer === undefined) return `message ${message.type} for a visitor that was answered already`;
    if (message.type === 'accepted') {
      this.#offerOver(offer.splice);
      offer.onAccepted?.(message.local_ms);
      offer.splice.accept();
    } else {
      this.#deviceIdle = true;
      this.#withdraw(message.code);
      if (this.idle) this.#options.onIdle?.();
    }
    return undefined;
  }

  #becomeIdle(): void {
    if (this.idle) this.#options.onIdle?.();
  }

  /** Takes the visitor back from the device, if it has not accepted it. */
  #withdraw(code: ErrorCode): void {
    const offer = this.#offer;
    if (offer === undefined) return;
    const visitor = offer.splice.withdraw();
    if (visitor === undefined) return; // the visitor is gone as well: the splice says so
    this.#offerOver(offer.splice);
    this.transfer.forget(offer.splice);
    offer.resolve({ outcome: 'not_taken', code, ...visitor });
  }

  #offerOver(splice: Splice): void {
    if (this.#offer?.splice === splice) this.#offer = undefined;
  }
}
