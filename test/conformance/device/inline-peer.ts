import { encodeFrame, INLINE_HEADER, INLINE_MESSAGE_MAX, InlineChannels, OPCODE } from '@culvert/wire';
import type { Peer, Text } from './peer.ts';
import type { ScriptServer } from './server.ts';
import { check, until } from './wait.ts';

/** One inline transfer, as the server sees it. */
export interface InlineChannel {
  channel: number;
  path: string;
  credit: number;
  chunks: Buffer[];
  received: number;
  /** CREDIT that came, in all. */
  granted: number;
  ended: boolean;
  closed: number | undefined;
}

/** The server's end of the inline transfers on one control connection. It grants nothing by itself. */
export class InlinePeer {
  readonly peer: Peer;
  readonly opened: InlineChannel[] = [];
  readonly #channels: InlineChannels;

  /** Before the agent can send anything inline. */
  constructor(peer: Peer, count: number) {
    this.peer = peer;
    this.#channels = new InlineChannels('server', count);
    peer.takeBinary(INLINE_MESSAGE_MAX, (message) => this.#onBinary(message));
    peer.onMessage = (text) => this.#onMessage(text);
  }

  /** Dials, and gives the inline transfer that answers. */
  async dial(server: ScriptServer, port: number): Promise<InlineChannel> {
    const dial = server.dialOf(port);
    await this.peer.say(dial);
    const found = (): InlineChannel | undefined => this.opened.find(({ path }) => path === dial.path);
    await until('open for a dial', () => found() ?? this.peer.over);
    this.peer.inOrder();
    check(!server.peers.some(({ id }) => id === dial.id), 'it opened a connection besides');
    return found() as InlineChannel;
  }

  /** Sends as much as there is credit for; gives how much that was. */
  send({ channel }: InlineChannel, bytes: Buffer): number {
    const count = Math.min(bytes.length, this.#channels.sendable(channel));
    if (count > 0) this.raw(this.#channels.data(channel, bytes, 0, count));
    return count;
  }

  /** Sends all of it, as credit comes. */
  async sendAll(one: InlineChannel, bytes: Buffer): Promise<void> {
    let at = 0;
    await until('credit for all that is to be sent', () => {
      for (let count = 1; count > 0 && at < bytes.length; at += count) count = this.send(one, bytes.subarray(at));
      return at >= bytes.length || this.peer.over;
    });
  }

  grant({ channel }: InlineChannel, bytes: number): void {
    this.raw(this.#channels.grant(channel, bytes));
  }
  end({ channel }: InlineChannel): void {
    this.raw(this.#channels.end(channel));
  }
  close({ channel }: InlineChannel, code: number): void {
    this.raw(this.#channels.close(channel, code));
  }

  /** Any payload of a binary message, good or bad. */
  raw(payload: Buffer | undefined): void {
    if (payload !== undefined) void this.peer.write(encodeFrame(OPCODE.binary, payload));
  }

  async gets(what: string, one: InlineChannel, bytes: Buffer | string): Promise<void> {
    const expected = Buffer.from(bytes);
    await until(what, () => one.received >= expected.length || this.peer.over);
    this.peer.inOrder();
    check(
      Buffer.concat(one.chunks).equals(expected),
      `${what}: ${one.received} bytes came that differ from the ${expected.length} expected`,
    );
  }

  /** Closes in order, once both ENDs have passed, and sees CLOSE answered. */
  async finish(one: InlineChannel): Promise<void> {
    await until('END', () => one.ended || this.peer.over);
    this.close(one, 1000);
    await until('the answer to CLOSE', () => one.closed !== undefined || this.peer.over);
    this.peer.inOrder();
  }

  #onMessage(text: Text): void {
    if (text.type !== 'open') return;
    const one = { channel: Number(text.channel), path: String(text.path), credit: Number(text.credit) };
    this.#channels.open(one.channel, one.credit);
    this.opened.push({ ...one, chunks: [], received: 0, granted: 0, ended: false, closed: undefined });
  }

  #onBinary(message: Buffer): void {
    const event = this.#channels.receive(message);
    const one = this.opened.findLast(({ channel }) => channel === event.channel);
    if (one === undefined) return;
    if (event.kind === 'data') {
      one.chunks.push(message.subarray(INLINE_HEADER));
      one.received += event.bytes;
    } else if (event.kind === 'credit') one.granted += event.bytes;
    else if (event.kind === 'end') one.ended = true;
    else if (event.kind === 'close') {
      one.closed = event.code;
      this.raw(this.#channels.close(event.channel, 1000));
    }
  }
}
