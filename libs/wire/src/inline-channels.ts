import { CulvertError, INLINE_CREDIT_MAX, INLINE_DATA_MAX } from '@culvert/contracts';
import { decodeInline, encodeInline, type InlineFrame, inlineData } from './inline.ts';

/** What the peer's message means for its owner. */
export type InlineEvent =
  | InlineFrame
  /** It came for a channel that we have closed; the peer had not heard of it yet. To be thrown away. */
  | { kind: 'late'; channel: number };

interface Channel {
  /** Bytes that we may still send, and that the peer may. */
  sendCredit: number;
  receiveCredit: number;
  sentEnd: boolean;
  gotEnd: boolean;
  sentClose: boolean;
  gotClose: boolean;
}

/**
 * The channels of one control connection, as one end sees them: who may send what, and how much. No I/O.
 *
 *   free --open()--> open --our END, the peer's END, in any order--> open --CLOSE sent and received--> free
 *                     \--CLOSE of either side at any time, answered by the other's CLOSE--------------^
 *
 * Each direction has its credit: it is granted by who receives, and spent by data. END and CLOSE cost none.
 */
export class InlineChannels {
  readonly #role: 'device' | 'server';
  readonly #channels: (Channel | undefined)[];

  /** @param count How many channels there are: their numbers are 0 to count - 1. */
  constructor(role: 'device' | 'server', count: number) {
    this.#role = role;
    this.#channels = new Array<Channel | undefined>(count).fill(undefined);
  }

  get count(): number {
    return this.#channels.length;
  }

  /** The lowest free channel; undefined when all are taken. */
  get free(): number | undefined {
    const channel = this.#channels.indexOf(undefined);
    return channel < 0 ? undefined : channel;
  }

  /**
   * `open` was sent (device) or has come (server): the channel is open.
   *
   * @param credit What the device is ready to receive.
   * @throws CulvertError `protocol_error` when there is no such channel, or it is not free.
   */
  open(channel: number, credit: number): void {
    if (channel < 0 || channel >= this.#channels.length) throw this.#noChannel(channel);
    if (this.#channels[channel] !== undefined) throw fault(`channel ${channel} was opened while it is not free`);
    const [sendCredit, receiveCredit] = this.#role === 'server' ? [credit, 0] : [0, credit];
    this.#channels[channel] = {
      ...{ sendCredit, receiveCredit },
      ...{ sentEnd: false, gotEnd: false, sentClose: false, gotClose: false },
    };
  }

  /**
   * The payload of a binary message has come.
   *
   * @throws CulvertError when the peer broke the protocol: the control connection ends.
   */
  receive(message: Buffer): InlineEvent {
    const frame = decodeInline(message);
    const state = this.#channels[frame.channel];
    if (frame.channel >= this.#channels.length) throw this.#noChannel(frame.channel);
    if (state === undefined || state.gotClose) throw fault(`a message for channel ${frame.channel}, which is not open`);
    switch (frame.kind) {
      case 'data':
        if (state.gotEnd) throw fault(`data after END on channel ${frame.channel}`);
        if (frame.bytes > state.receiveCredit) {
          throw fault(`${frame.bytes} bytes on channel ${frame.channel} with a credit of ${state.receiveCredit}`);
        }
        state.receiveCredit -= frame.bytes;
        break;
      case 'end':
        if (state.gotEnd) throw fault(`a second END on channel ${frame.channel}`);
        state.gotEnd = true;
        break;
      case 'credit':
        if (state.sendCredit + frame.bytes > INLINE_CREDIT_MAX) {
          throw fault(`a credit over ${INLINE_CREDIT_MAX} on channel ${frame.channel}`);
        }
        state.sendCredit += frame.bytes;
        break;
      case 'close':
        state.gotClose = true;
        if (state.sentClose) this.#channels[frame.channel] = undefined;
        return frame;
    }
    return state.sentClose ? { kind: 'late', channel: frame.channel } : frame;
  }

  /** Bytes that may be sent in one message now. */
  sendable(channel: number): number {
    const state = this.#channels[channel];
    if (state === undefined || state.sentEnd || state.sentClose || state.gotClose) return 0;
    return Math.min(state.sendCredit, INLINE_DATA_MAX);
  }

  /** The message that carries `bytes[from..to)`; not more than `sendable`. */
  data(channel: number, bytes: Uint8Array, from: number, to: number): Buffer {
    const state = this.#channels[channel];
    if (state === undefined || to - from > this.sendable(channel)) throw new CulvertError('internal', 'data beyond the credit');
    state.sendCredit -= to - from;
    const message = inlineData(channel, to - from);
    message.set(bytes.subarray(from, to), message.length - (to - from));
    return message;
  }

  /** What the peer may still send without more credit. */
  granted(channel: number): number {
    return this.#channels[channel]?.receiveCredit ?? 0;
  }

  /** The message that lets the peer send more; undefined when the channel takes no more of it. */
  grant(channel: number, bytes: number): Buffer | undefined {
    const state = this.#channels[channel];
    if (state === undefined || state.sentClose || state.gotClose || state.gotEnd || bytes === 0) return undefined;
    state.receiveCredit += bytes;
    return encodeInline({ kind: 'credit', channel, bytes });
  }

  /** The END of our direction; undefined when it was said already, or the channel is closed. */
  end(channel: number): Buffer | undefined {
    const state = this.#channels[channel];
    if (state === undefined || state.sentEnd || state.sentClose || state.gotClose) return undefined;
    state.sentEnd = true;
    return encodeInline({ kind: 'end', channel });
  }

  /** Our CLOSE, to begin or to answer; undefined when it was sent already. */
  close(channel: number, code: number): Buffer | undefined {
    const state = this.#channels[channel];
    if (state === undefined || state.sentClose) return undefined;
    state.sentClose = true;
    if (state.gotClose) this.#channels[channel] = undefined;
    return encodeInline({ kind: 'close', channel, code });
  }

  #noChannel(channel: number): CulvertError {
    return fault(`there is no channel ${channel}; expected 0 to ${this.#channels.length - 1}`);
  }
}

function fault(text: string): CulvertError {
  return new CulvertError('protocol_error', text);
}
