import { type Logger, pino } from 'pino';

export type { Logger };

/** One JSON line per event on standard output; `event` is a stable dotted word, the text is for people. */
export function createLogger(service: string, instance: string, level: string): Logger {
  return pino({
    level,
    base: { service, instance },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: ['token', '*.token', 'authorization'],
  });
}
