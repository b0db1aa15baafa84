import type net from 'node:net';
import type { RefusedCode } from '@culvert/contracts';
import type { AssignMessage, Message } from '@culvert/wire';
import type { SpliceResult } from './splice.ts';
import { type SpliceOptions, Transfer, type TransferOptions } from './transfer.ts';

export interface WarmDeviceOptions extends Omit<TransferOptions, 'role'> {
  /** A visitor is there: answer with `splice` or `refuse`. Its bytes are held meanwhile. */
  onAssign(message: AssignMessage): void;
  /** A visitor ended in order and the transfer waits for the next. */
  onIdle?(): void;
}

/**
 * The device's end of a warm transfer:
 *
 *   idle --assign--> assigned --splice()--> serving --both ENDs, flushed--> idle (it says so)
 *     ^-----refuse()-----/
 */
export class WarmDevice {
  readonly transfer: Transfer;
  readonly #options: WarmDeviceOptions;
  #assigned: AssignMessage | undefined;
  #assignedAt = 0;

  /** @throws CulvertError `peer_reset` when the socket is already gone. */
  constructor(socket: net.Socket, options: WarmDeviceOptions) {
    this.#options = options;
    this.transfer = new Transfer(
      socket,
      { ...options, role: 'client' },
      { onMessage: (message) => this.#onMessage(message), onServed: () => this.#served(), onClosing: () => {} },
    );
    this.transfer.stray = 'fault';
  }

  /** It has no visitor, not even one that waits for an answer. */
  get idle(): boolean {
    return this.transfer.open && this.#assigned === undefined;
  }

  /** Accepts the visitor of `assign` and joins it with the local target. See `Transfer.splice`. */
  splice(tcp: net.Socket, options: SpliceOptions = {}): Promise<SpliceResult> {
    if (this.#assigned !== undefined) {
      const { id, traceparent } = this.#assigned;
      const trace = traceparent === undefined ? {} : { local_ms: Math.round(performance.now() - this.#assignedAt) };
      this.transfer.sendBeforeData({ type: 'accepted', id, ...trace });
    }
    return this.transfer.splice(tcp, options);
  }

  /** The local target cannot take the visitor of `assign`. What has come of it is thrown away. */
  refuse(code: RefusedCode): void {
    if (this.#assigned === undefined || this.transfer.busy) return;
    this.transfer.send({ type: 'refused', id: this.#assigned.id, code });
    this.#assigned = undefined;
    this.transfer.stray = 'discard';
  }

  #onMessage(message: Message): string | undefined {
    if (message.type !== 'assign') return `message ${message.type} is not one that a server sends on a transfer connection`;
    if (this.#assigned !== undefined) return 'assign while another visitor is assigned';
    this.#assigned = message;
    this.#assignedAt = performance.now();
    this.transfer.stray = 'hold';
    this.#options.onAssign(message);
    return undefined;
  }

  #served(): void {
    if (this.#assigned === undefined) return;
    this.transfer.stray = 'fault';
    this.transfer.send({ type: 'idle', id: this.#assigned.id });
    this.#assigned = undefined;
    this.#options.onIdle?.();
  }
}
