import { CulvertError, INLINE_CREDIT_MAX, INLINE_DATA_MAX } from '@culvert/contracts';

/** What a binary message on a control connection is: its third byte, behind the two of the channel. */
export const INLINE_KIND = { data: 0, end: 1, credit: 2, close: 3 } as const;

/** Bytes in front of the data of an inline message: channel and kind. */
export const INLINE_HEADER = 3;
/** Longest inline message in bytes, header included. */
export const INLINE_MESSAGE_MAX = INLINE_HEADER + INLINE_DATA_MAX;

export type InlineFrame =
  /** The visitor's bytes: `bytes[INLINE_HEADER..]` of the message. */
  | { kind: 'data'; channel: number; bytes: number }
  | { kind: 'end'; channel: number }
  /** The sender takes this many bytes more. */
  | { kind: 'credit'; channel: number; bytes: number }
  /** `code` is a WebSocket close code of the error table. */
  | { kind: 'close'; channel: number; code: number };

/** A whole message with room for `length` bytes of data behind its header. */
export function inlineData(channel: number, length: number): Buffer {
  const message = Buffer.allocUnsafe(INLINE_HEADER + length);
  putHeader(message, channel, INLINE_KIND.data);
  return message;
}

/** The payload of one inline message; data is copied. */
export function encodeInline(frame: Exclude<InlineFrame, { kind: 'data' }>): Buffer {
  const length = frame.kind === 'end' ? 0 : frame.kind === 'credit' ? 4 : 2;
  const message = Buffer.allocUnsafe(INLINE_HEADER + length);
  putHeader(message, frame.channel, INLINE_KIND[frame.kind]);
  if (frame.kind === 'credit') message.writeUInt32BE(frame.bytes, INLINE_HEADER);
  else if (frame.kind === 'close') message.writeUInt16BE(frame.code, INLINE_HEADER);
  return message;
}

function putHeader(message: Buffer, channel: number, kind: number): void {
  message.writeUInt16BE(channel, 0);
  message[2] = kind;
}

/**
 * Reads the payload of one binary message of a control connection.
 *
 * @throws CulvertError `protocol_error`, or `too_large`, naming what was wrong.
 */
export function decodeInline(message: Buffer): InlineFrame {
  if (message.length < INLINE_HEADER) {
    throw fault(`an inline message has ${message.length} bytes; expected at least ${INLINE_HEADER}`);
  }
  if (message.length > INLINE_MESSAGE_MAX) {
    throw new CulvertError('too_large', `an inline message has ${message.length} bytes; expected at most ${INLINE_MESSAGE_MAX}`);
  }
  const channel = message.readUInt16BE(0);
  const length = message.length - INLINE_HEADER;
  switch (message[2]) {
    case INLINE_KIND.data:
      if (length === 0) throw fault('an inline message of data is empty; expected at least one byte, or END');
      return { kind: 'data', channel, bytes: length };
    case INLINE_KIND.end:
      expectLength('END', length, 0);
      return { kind: 'end', channel };
    case INLINE_KIND.credit: {
      expectLength('CREDIT', length, 4);
      const bytes = message.readUInt32BE(INLINE_HEADER);
      if (bytes === 0 || bytes > INLINE_CREDIT_MAX) throw fault(`CREDIT of ${bytes}; expected 1 to ${INLINE_CREDIT_MAX}`);
      return { kind: 'credit', channel, bytes };
    }
    case INLINE_KIND.close: {
      expectLength('CLOSE', length, 2);
      const code = message.readUInt16BE(INLINE_HEADER);
      if (code < 1000 || code > 4999) throw fault(`CLOSE with code ${code}; expected a close code of the table`);
      return { kind: 'close', channel, code };
    }
    default:
      throw fault(`an inline message is of kind ${message[2]}; expected 0 to 3`);
  }
}

function expectLength(what: string, length: number, expected: number): void {
  if (length !== expected) throw fault(`${what} has ${length} bytes behind its header; expected ${expected}`);
}

function fault(text: string): CulvertError {
  return new CulvertError('protocol_error', text);
}
