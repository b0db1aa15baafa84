import { faultOfDeviceName, parseDuration } from '@culvert/contracts';
import type { Command } from 'commander';
import { CommandError, EXIT } from '../exit.ts';
import { type AdminAddress, adminAddress } from './admin-address.ts';
import { callAdmin } from './admin-api.ts';

export const EXITS = `
Exit codes: 0 done, 1 the server said no (its words are on standard error), 2 usage, 4 the server cannot be reached.`;

/** Flags that every operator command has. */
export interface Flags {
  json?: boolean;
}

/** A subcommand with `--json` and the exit codes in its help. */
export function subcommand(parent: Command, usage: string, description: string): Command {
  return parent.command(usage).description(description).option('--json', 'print JSON').addHelpText('after', EXITS);
}

export function admin(command: Command): AdminAddress {
  return adminAddress(command.optsWithGlobals<{ stateDir?: string }>().stateDir, process.env);
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** What was said, as JSON or in words for people. */
export function say(flags: Flags, answer: unknown, words: string): void {
  print(flags.json === true ? JSON.stringify(answer) : words);
}

/** @throws CommandError (usage) that says what is wrong with the name. */
export function checkedName(name: string): string {
  const fault = faultOfDeviceName(name);
  if (fault !== undefined) throw new CommandError(EXIT.usage, fault);
  return name;
}

export const devicePath = (name: string, rest = ''): string => `/v1/devices/${encodeURIComponent(checkedName(name))}${rest}`;

/** All pages of a list, one after the other. */
export async function allPages<T>(address: AdminAddress, path: string, field: string): Promise<T[]> {
  const all: T[] = [];
  let cursor: unknown;
  do {
    const query = `${path.includes('?') ? '&' : '?'}limit=500${typeof cursor === 'string' ? `&cursor=${encodeURIComponent(cursor)}` : ''}`;
    const page = (await callAdmin(address, 'GET', path + query)) as Record<string, unknown>;
    if (Array.isArray(page[field])) all.push(...(page[field] as T[]));
    cursor = page.cursor === cursor ? undefined : page.cursor;
  } while (typeof cursor === 'string' && cursor !== '');
  return all;
}

/** `name=value` texts. @throws CommandError (usage) */
export function pairsOf(texts: readonly string[], what: string): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf('=');
      if (at < 1) throw new CommandError(EXIT.usage, `${what} is ${JSON.stringify(text)}; expected name=value`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

/** @throws CommandError (usage) */
export function wholeNumber(text: string, what: string): number {
  if (!/^[0-9]{1,15}$/.test(text))
    throw new CommandError(EXIT.usage, `${what} is ${JSON.stringify(text)}; expected a whole number`);
  return Number(text);
}

/** `24h` → milliseconds; `never` → null. @throws CommandError (usage) */
export function durationOrNever(text: string, what: string): number | null {
  const ms = text === 'never' ? null : parseDuration(text);
  if (ms === undefined)
    throw new CommandError(EXIT.usage, `${what} is ${JSON.stringify(text)}; expected such as 30m, 24h or 7d, or never`);
  return ms;
}

/** Commander's collector for an option that may be given several times. */
export const collect = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];
