import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { NATIVE } from './build.ts';

/** A line for the program `core/test/replay.c`, and what it has to answer. */
export interface Replay {
  name: string;
  line: string;
  expected: string;
}

const read = (file: string): unknown => JSON.parse(readFileSync(join(NATIVE, '../../docs/vectors', file), 'utf8'));
const hex = (bytes: Buffer): string => (bytes.length === 0 ? '-' : bytes.toString('hex'));

/** `6162 63*3` is 61 62 63 63 63. */
function bytesOf(notation: string): Buffer {
  return Buffer.concat(
    notation.split(' ').map((part) => {
      const [digits = '', times] = part.split('*');
      const bytes = Buffer.from(digits, 'hex');
      return times === undefined ? bytes : Buffer.concat([bytes, Buffer.alloc(Number(times) - 1, bytes.subarray(-1))]);
    }),
  );
}

type Event = { data?: string; end?: true; text?: string; ping?: string; pong?: string; close?: number; reason?: string };

function eventText(event: Event): string {
  if (event.data !== undefined) return ` data ${hex(bytesOf(event.data))}`;
  if (event.text !== undefined) return ` text ${hex(Buffer.from(event.text))}`;
  if (event.ping !== undefined) return ` ping ${hex(bytesOf(event.ping))}`;
  if (event.pong !== undefined) return ` pong ${hex(bytesOf(event.pong))}`;
  if (event.close !== undefined) return ` close ${event.close} ${hex(Buffer.from(event.reason ?? ''))}`;
  return ' end';
}

function frames(): Replay[] {
  const cases = read('frames.json') as {
    name: string;
    receiver: string;
    max_frame?: number;
    bytes: string;
    events: Event[];
    error?: string;
  }[];
  return cases.flatMap(({ name, receiver, max_frame, bytes, events, error }) =>
    [0, 1, 3].map((chunk) => ({
      name: `${name}, chunks of ${chunk}`,
      line: `frames ${receiver} ${max_frame ?? 0} ${hex(bytesOf(bytes))} ${chunk}`,
      expected: events.map(eventText).join('') + (error === undefined ? '' : ` error ${error}`),
    })),
  );
}

interface ResponseCase {
  name: string;
  key: string;
  response: string;
  upgraded?: { rest: string };
  refused?: { status: number; code: string; retry_after_ms?: number };
  error?: string;
  incomplete?: true;
}

/** @param bytewise Then what is behind the head is not with it. */
function answerText({ upgraded, refused, error }: ResponseCase, bytewise: boolean): string {
  if (upgraded !== undefined) return `upgraded ${bytewise ? '-' : upgraded.rest || '-'}`;
  if (refused !== undefined) {
    return `refused ${refused.status} ${refused.code} ${refused.retry_after_ms === undefined ? -1 : refused.retry_after_ms / 1000}`;
  }
  return error === undefined ? 'incomplete' : `error ${error}`;
}

function responses(): Replay[] {
  const { responses: cases } = read('handshakes.json') as { responses: ResponseCase[] };
  return cases.flatMap((one) =>
    [0, 1].map((chunk) => ({
      name: `${one.name}, chunks of ${chunk}`,
      line: `response ${one.key} ${hex(Buffer.from(one.response, 'latin1'))} ${chunk}`,
      expected: answerText(one, false),
    })),
  );
}

const NUMBERS = new Set([
  'port',
  'public_port',
  'epoch',
  'heartbeat_ms',
  'grace_ms',
  'reconnect_ms',
  'resumed',
  'inline',
  'canary',
]);
/** The order in which the program prints fields. */
const ORDER = [
  ...[
    'port',
    'url',
    'host',
    'public_port',
    'epoch',
    'heartbeat_ms',
    'grace_ms',
    'resumed',
    'inline',
    'canary',
    'transfer_url',
    'transfer_key',
  ],
  ...['id', 'path', 'visitor', 'reconnect_ms', 'code', 'message'],
];

function messages(): Replay[] {
  const cases = read('messages.json') as {
    name: string;
    text: string;
    message?: Record<string, unknown>;
    unknown?: string;
    fault?: true;
  }[];
  return cases.flatMap(({ name, text, message, fault }) => {
    if (KNOWN_TO_OTHERS.has(name)) return [];
    const line = `message ${hex(Buffer.from(text))}`;
    if (message === undefined) return [{ name, line, expected: fault ? 'fault' : 'unknown' }];
    const fields = ORDER.filter((field) => message[field] !== undefined).map(
      (field) => ` ${field}=${NUMBERS.has(field) ? String(message[field]) : hex(Buffer.from(String(message[field])))}`,
    );
    return [{ name, line, expected: `${String(message.type)}${fields.join('')}` }];
  });
}

/** What only a server has to read, or not every device: to this library they are of an unknown type, or have an unknown field. */
const KNOWN_TO_OTHERS: ReadonlySet<string> = new Set([
  ...['open', 'open without credit', 'open with too much credit', 'traced', 'traced with a negative time'],
  'dial with a trace context that is no text',
]);

interface Walk {
  name: string;
  servers: number;
  steps: {
    ending: { kind: string; code?: string; retryAfterMs?: number; reconnectMs?: number; livedMs?: number };
    random: number;
    wait_ms: number;
    server: number;
  }[];
}

function walks(): Replay[] {
  const { walks: cases } = read('backoff.json') as { walks: Walk[] };
  return cases.map(({ name, servers, steps }) => ({
    name,
    line: `backoff ${servers} ${steps
      .map(({ ending, random }) => {
        const { kind, code = '-', retryAfterMs = -1, reconnectMs = 0, livedMs = 0 } = ending;
        return [kind, code, retryAfterMs, reconnectMs, livedMs, Math.ceil(random * 2 ** 32)].join(',');
      })
      .join(' ')}`,
    expected: steps.map(({ wait_ms, server }) => ` ${wait_ms},${server}`).join(''),
  }));
}

interface InlineStep {
  open?: number;
  credit?: number;
  receive?: string;
  send?: number;
  bytes?: number;
  grant?: number;
  end?: number;
  close?: number;
  code?: number;
  sends?: string | null;
  event?: { kind: string; channel: number; bytes?: number; code?: number };
  error?: string;
}

function stepText(step: InlineStep): string {
  if (step.open !== undefined) return `open,${step.open},${step.credit}`;
  if (step.receive !== undefined) return `receive,${hex(bytesOf(step.receive))}`;
  if (step.send !== undefined) return `send,${step.send},${step.bytes}`;
  if (step.grant !== undefined) return `grant,${step.grant},${step.bytes}`;
  return step.end === undefined ? `close,${step.close},${step.code}` : `end,${step.end}`;
}

function stepResult({ error, event, sends, open }: InlineStep): string {
  if (error !== undefined) return error;
  if (event !== undefined) return `${event.kind},${event.channel},${event.bytes ?? event.code ?? 0}`;
  return open !== undefined || sends === null || sends === undefined ? '-' : hex(bytesOf(sends));
}

function inlined(): Replay[] {
  const cases = read('inline.json') as { name: string; role: string; channels: number; steps: InlineStep[] }[];
  return cases.flatMap(({ name, role, channels, steps }) =>
    [0, 1].map((chunk) => ({
      name: `inline: ${name}, chunks of ${chunk}`,
      line: `inline ${chunk} ${role} ${channels} ${steps.map(stepText).join(' ')}`,
      expected: steps.map((step) => ` ${stepResult(step)}`).join(''),
    })),
  );
}

/** Every golden vector that a device's library has a part in. */
export function replays(): Replay[] {
  return [...frames(), ...responses(), ...messages(), ...walks(), ...inlined()];
}
