import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger };

/** Lines may be this late, so that many of them share a system call; `fatal` ones and the last of a process are not. */
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

/** One JSON line per event on standard output; `event` is a stable dotted word, the text is for people. */
export function createLogger(service: string, instance: string, level: string): Logger {
  const options = {
    level,
    base: { service, instance },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: ['token', '*.token', 'authorization'],
  };
  return pino(options, gathering());
}
