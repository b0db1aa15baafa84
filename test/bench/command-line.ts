import { type ParseArgsConfig, parseArgs } from 'node:util';

/** Ends the program with what is wrong in its command line, and what would be right. */
export function wrong(message: string): never {
  console.error(message);
  process.exit(2);
}

/** `parseArgs` of this process; what it does not know ends the program in one line. */
export function commandLine<T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    const known = Object.keys(config.options ?? {}).map((name) => `--${name}`);
    wrong(`${(error as Error).message.split('. ')[0]}; expected ${known.join(', ')}`);
  }
}

/** The number that an option says, of `least` or more. */
export function numberOf(option: string, text: string, least = 1): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= least)) wrong(`--${option} ${text}; expected a number of ${least} or more`);
  return value;
}
