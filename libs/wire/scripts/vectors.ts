/**
 * Golden vectors of wire protocol version 1: `node libs/wire/scripts/vectors.ts` writes them to docs/vectors. An
 * implementation in another language runs them too; what they mean is said in PROTOCOL.md. Inputs are written out here by
 * hand, results come from this implementation and are reviewed as a diff.
 */
import { writeFileSync } from 'node:fs';
import { CulvertError, ERRORS } from '@culvert/contracts';
import {
  BACKOFF,
  type BackoffState,
  decodeMessage,
  type Ending,
  FrameParser,
  type HandshakeHeaders,
  handshakePath,
  InlineChannels,
  initialBackoff,
  nextAttempt,
  parseControlHandshake,
  parseTransferHandshake,
  ResponseParser,
  renderUpgrade,
} from '../src/index.ts';
import {
  BACKOFF_CASES,
  FRAME_CASES,
  INLINE_CASES,
  type InlineCase,
  type InlineStep,
  MESSAGE_CASES,
  REQUEST_CASES,
  RESPONSE_CASES,
  SAMPLE_KEY,
} from './vector-inputs.ts';

/** `6162 63*3` is 61 62 63 63 63: hex runs, the last byte of a run repeated. */
export function bytesOf(notation: string): Buffer {
  const runs = notation.split(' ').map((run) => {
    const [hex = '', times] = run.split('*');
    const bytes = Buffer.from(hex, 'hex');
    if (times === undefined) return bytes;
    return Buffer.concat([bytes, Buffer.alloc(Number(times) - 1, bytes.subarray(-1))]);
  });
  return Buffer.concat(runs);
}

/** The reverse for what parsers give: one run, compressed where it is one byte over and over. */
export function notationOf(bytes: Buffer): string {
  if (bytes.length > 64 && bytes.every((byte) => byte === bytes[0])) return `${bytes.toString('hex', 0, 1)}*${bytes.length}`;
  return bytes.toString('hex');
}

export type FrameEvent =
  | { data: string }
  | { end: true }
  | { text: string }
  | { ping: string }
  | { pong: string }
  | { close: number; reason: string };

/** What a parser tells of some chunks. Data that is not separated by another event is one event: borders mean nothing. */
export function parseFrames(role: 'client' | 'server', maxFrame: number | undefined, chunks: Buffer[]) {
  const events: FrameEvent[] = [];
  let data: Buffer[] = [];
  const flush = (): void => {
    if (data.length > 0) events.push({ data: notationOf(Buffer.concat(data)) });
    data = [];
  };
  const add = (event: FrameEvent): void => {
    flush();
    events.push(event);
  };
  const parser = new FrameParser(
    { role, ...(maxFrame === undefined ? {} : { maxFrame }) },
    {
      onData: (chunk, from, to) => data.push(Buffer.from(chunk.subarray(from, to))),
      onEnd: () => add({ end: true }),
      onText: (text) => add({ text }),
      onPing: (payload) => add({ ping: payload.toString('hex') }),
      onPong: (payload) => add({ pong: payload.toString('hex') }),
      onClose: (close, reason) => add({ close, reason }),
    },
  );
  let error: string | undefined;
  try {
    for (const chunk of chunks) parser.push(Buffer.from(chunk));
  } catch (thrown) {
    if (!(thrown instanceof CulvertError)) throw thrown;
    error = thrown.code;
  }
  flush();
  return { events, ...(error === undefined ? {} : { error }) };
}

/** Splits a request into what an HTTP server would hand on. */
export function splitRequest(text: string): { method: string; url: string; headers: HandshakeHeaders } {
  const [first = '', ...lines] = text.split('\r\n\r\n', 1)[0]?.split('\r\n') ?? [];
  const [method = '', url = ''] = first.split(' ');
  const headers: HandshakeHeaders = {};
  for (const line of lines) headers[line.slice(0, line.indexOf(':')).toLowerCase()] = line.slice(line.indexOf(':') + 1).trim();
  return { method, url, headers };
}

function judgeRequest(text: string): Record<string, unknown> {
  const { method, url, headers } = splitRequest(text);
  const parse = handshakePath(url)?.kind === 'transfer' ? parseTransferHandshake : parseControlHandshake;
  const result = parse(method, url, headers);
  if (!result.ok) return { refused: { status: ERRORS[result.code].http, code: result.code } };
  const { ok: _ok, key, ...fields } = result;
  return { accepted: fields, answer: renderUpgrade(key) };
}

function judgeResponse(text: string): Record<string, unknown> {
  const parser = new ResponseParser(SAMPLE_KEY);
  try {
    const answer = parser.push(Buffer.from(text, 'latin1')) ?? parser.end();
    if (answer === undefined) return { incomplete: true };
    if (answer.kind === 'upgraded') return { upgraded: { rest: answer.rest.toString('hex') } };
    const { status, code, retryAfterMs } = answer;
    return { refused: { status, code, ...(retryAfterMs === undefined ? {} : { retry_after_ms: retryAfterMs }) } };
  } catch (error) {
    if (!(error instanceof CulvertError)) throw error;
    return { error: error.code };
  }
}

function judgeMessage(text: string): Record<string, unknown> {
  const decoded = decodeMessage(text);
  if (decoded.type === 'fault') return { fault: true };
  return decoded.type === 'unknown' ? { unknown: decoded.name } : { message: decoded };
}

function walk(servers: number, steps: { ending: Ending; random: number }[]) {
  let state: BackoffState = initialBackoff();
  return steps.map(({ ending, random }) => {
    const next = nextAttempt(state, ending, servers, random);
    state = next.state;
    return { ending, random, wait_ms: next.waitMs, server: next.server };
  });
}

/** What one end makes of a step: the message it sends (null: none), or what it hears; undefined when there is nothing to say. */
function inlineStep(channels: InlineChannels, step: InlineStep): Record<string, unknown> {
  const sent = (message: Buffer | undefined): Record<string, unknown> => ({
    sends: message === undefined ? null : notationOf(message),
  });
  if ('open' in step) {
    channels.open(step.open, step.credit);
    return {};
  }
  if ('receive' in step) return { event: channels.receive(bytesOf(step.receive)) };
  if ('grant' in step) return sent(channels.grant(step.grant, step.bytes));
  if ('end' in step) return sent(channels.end(step.end));
  if ('close' in step) return sent(channels.close(step.close, step.code));
  const count = Math.min(step.bytes, channels.sendable(step.send));
  return sent(count === 0 ? undefined : channels.data(step.send, Buffer.alloc(count, 0x61), 0, count));
}

function walkInline({ role, channels: count, steps }: InlineCase) {
  const channels = new InlineChannels(role, count);
  return steps.map((step) => {
    try {
      return { ...step, ...inlineStep(channels, step) };
    } catch (error) {
      if (!(error instanceof CulvertError)) throw error;
      return { ...step, error: error.code };
    }
  });
}

export function vectors(): Record<string, unknown> {
  return {
    frames: FRAME_CASES.map(({ name, receiver, max_frame, bytes }) => ({
      name,
      receiver,
      ...(max_frame === undefined ? {} : { max_frame }),
      bytes,
      ...parseFrames(receiver, max_frame, [bytesOf(bytes)]),
    })),
    handshakes: {
      requests: REQUEST_CASES.map(({ name, request }) => ({ name, request, ...judgeRequest(request) })),
      responses: RESPONSE_CASES.map(({ name, response }) => ({ name, key: SAMPLE_KEY, response, ...judgeResponse(response) })),
    },
    messages: MESSAGE_CASES.map(({ name, text }) => ({ name, text, ...judgeMessage(text) })),
    inline: INLINE_CASES.map((one) => ({ name: one.name, role: one.role, channels: one.channels, steps: walkInline(one) })),
    backoff: {
      policy: BACKOFF,
      walks: BACKOFF_CASES.map(({ name, servers, steps }) => ({ name, servers, steps: walk(servers, steps) })),
    },
  };
}

/** The text of one vector file. */
export function render(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

if (import.meta.main) {
  for (const [name, value] of Object.entries(vectors())) {
    writeFileSync(new URL(`../../../docs/vectors/${name}.json`, import.meta.url), render(value));
  }
}
