import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger };

/** Lines may be this late, those of visitors twice as much, so that many of them share a system call; `fatal` ones and the last of a process are not. */
const GATHER_MS = 50;
const GATHER_BYTES = 64 * 1024;

/** Standard output, a batch of lines at a time. */
function gathering(): DestinationStream & { flushSync(): void } {
  const output = pino.destination({ fd: 1, sync: true });
  let text = '';
  let timer: NodeJS.Timeout | undefined;
  const flushSync = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (text !== '') output.write(text);
    text = '';
  };
  process.on('exit', flushSync);
  return {
    write(line) {
      text += line;
      if (text.length >= GATHER_BYTES) flushSync();
      else timer ??= setTimeout(flushSync, GATHER_MS).unref();
    },
    flushSync,
  };
}

/** When what is logged now has happened, in milliseconds since 1970, unless it is now. */
let happenedAt: number | undefined;

/** Log lines of `tell`, which is given that time, bear it: for those that are written later than what they tell of. */
export function logAsOf(at: number, tell: (at: number) => void): void {
  happenedAt = at;
  try {
    tell(at);
  } finally {
    happenedAt = undefined;
  }
}

type Fields = Record<string, unknown>;
const HIDDEN = '[Redacted]';

/** Tokens are in no line: not among its fields, nor among the fields of one. pino's own way costs twice what the line does. */
function withoutTokens(fields: Fields): Fields {
  let safe = fields;
  for (const name of Object.keys(fields)) {
    const value = fields[name];
    if (name === 'token' || name === 'authorization') safe = { ...safe, [name]: HIDDEN };
    else if (typeof value === 'object' && value !== null && 'token' in value && !(value instanceof Error)) {
      safe = { ...safe, [name]: { ...value, token: HIDDEN } };
    }
  }
  return safe;
}

/** What was thrown may be anything. */
function errorWithoutTokens(error: Error): unknown {
  const said: unknown = pino.stdSerializers.err(error);
  return typeof said === 'object' && said !== null ? withoutTokens(said as Fields) : said;
}

/** One JSON line per event on standard output; `event` is a stable dotted word, the text is for people. */
export function createLogger(service: string, instance: string, level: string): Logger {
  const options = {
    level,
    base: { service, instance },
    timestamp: () => `,"time":"${new Date(happenedAt ?? Date.now()).toISOString()}"`,
    formatters: { log: withoutTokens },
    serializers: { err: errorWithoutTokens },
  };
  return pino(options, gathering());
}
