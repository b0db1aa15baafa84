import { readFileSync } from 'node:fs';
import { type AgentOptions, faultsOfOptions, isToken, type Mapping, parseMapping } from '@culvert/agent';
import { CommandError, EXIT, textOf, usageError } from '../exit.ts';

/** Options of `culvert agent` as commander gives them; everything is text and may be missing. */
export interface AgentFlags {
  server?: string[];
  name?: string;
  tokenFile?: string;
  /** Enrolment key, or the file that holds one. */
  enroll?: string;
  enrollFile?: string;
  caFile?: string;
  pin?: string[];
  proxy?: string;
  maxTransfers?: string;
  warm?: string;
  allowForward?: string[];
  inline?: string;
  json?: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Makes the agent's options of the command line.
 *
 * @throws CommandError (usage) with all faults at once.
 */
export function agentOptions(flags: AgentFlags, words: readonly string[], env: Environment): AgentOptions {
  const faults: string[] = [];
  if (flags.server === undefined) faults.push('--server is missing; expected a URL such as https://culvert.example');
  if (flags.name === undefined) faults.push('--name is missing; expected the name given to culvert device add');
  const token = tokenSource(flags.tokenFile, env, faults);
  const ca = certificates(flags.caFile, env, faults);
  const mappings: Mapping[] = [];
  if (words.length === 0) faults.push('no MAPPING; expected at least one, such as 80 or tcp:22=192.168.1.7:22');
  for (const word of words) {
    if (isSecret(word)) {
      faults.push(SECRET_FAULT);
      continue;
    }
    const parsed = word.startsWith('-') ? { ok: false as const, fault: `option ${word} is unknown` } : parseMapping(word);
    if (parsed.ok) mappings.push(parsed.mapping);
    else faults.push(parsed.fault);
  }
  const forwards = (flags.allowForward ?? []).flatMap((list) => forwardsOf(list, faults));
  const transfers = whole('--max-transfers', flags.maxTransfers, faults);
  const inline = whole('--inline', flags.inline, faults);
  const warm = whole('--warm', flags.warm, faults);
  const options: AgentOptions = {
    servers: flags.server ?? ['http://localhost'],
    name: flags.name ?? 'unnamed',
    token,
    mappings: mappings.length > 0 ? mappings : [{ port: 80, scheme: 'http', target: { host: '127.0.0.1', port: 80 } }],
    ...(forwards.length === 0 ? {} : { forwards }),
    ...(flags.proxy === undefined ? {} : { proxy: flags.proxy === '' ? null : flags.proxy }),
    ...(ca === undefined ? {} : { ca }),
    ...(flags.pin === undefined ? {} : { pins: flags.pin }),
    ...(transfers === undefined ? {} : { transfers }),
    ...(inline === undefined ? {} : { inline }),
    ...(warm === undefined ? {} : { warm }),
  };
  faults.push(...faultsOfOptions(options)); // what is missing has a stand-in above, so that nothing is reported twice
  if (faults.length > 0) throw usageError(faults, 'agent');
  return options;
}

/** Tokens and keys of ours begin so: they are not repeated, and nobody is to get used to typing them here. */
export const isSecret = (word: string): boolean => /^(?:--[a-z-]+=)?cv[a-z]+_/.test(word);
export const SECRET_FAULT =
  'a token stands on the command line, where everybody on this machine can read it; give it in a file or in the environment, and replace this one';

/** `22,5900=192.168.1.7:5900`: ports for operators, with their targets. */
function forwardsOf(list: string, faults: string[]): Mapping[] {
  return list.split(',').flatMap((word) => {
    const parsed = parseMapping(word);
    if (parsed.ok) return [parsed.mapping];
    faults.push(`--allow-forward: ${parsed.fault}`);
    return [];
  });
}

/** The token file is read anew before every connection, so that a rotated token needs no restart. */
function tokenSource(file: string | undefined, env: Environment, faults: string[]): () => string {
  if (file !== undefined && env.CULVERT_TOKEN !== undefined) {
    faults.push('--token-file and CULVERT_TOKEN are both given; expected one of them');
  }
  if (file !== undefined) {
    const read = (): string => {
      const token = readFileSync(file, 'utf8').trim();
      if (!isToken(token)) throw new CommandError(EXIT.usage, `${file} holds no token; expected the one of culvert device add`);
      return token;
    };
    try {
      read();
    } catch (err) {
      faults.push(`--token-file cannot be used: ${textOf(err)}`);
    }
    return read;
  }
  const token = env.CULVERT_TOKEN?.trim();
  if (token === undefined) faults.push('no token; expected --token-file FILE or the environment variable CULVERT_TOKEN');
  else if (!isToken(token)) faults.push('CULVERT_TOKEN holds no token; expected the one of culvert device add');
  return () => token ?? '';
}

/** Certificates to trust besides the usual ones: of --ca-file, else of CULVERT_CA_FILE. */
export function certificates(flag: string | undefined, env: Environment, faults: string[]): string | undefined {
  const file = flag ?? env.CULVERT_CA_FILE;
  if (file === undefined || file === '') return undefined;
  const name = flag === undefined ? 'CULVERT_CA_FILE' : '--ca-file';
  try {
    const text = readFileSync(file, 'utf8');
    if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
    faults.push(`${name} ${file} holds no certificate; expected PEM`);
  } catch (err) {
    faults.push(`${name} cannot be read: ${textOf(err)}`);
  }
  return undefined;
}

function whole(name: string, text: string | undefined, faults: string[]): number | undefined {
  if (text === undefined) return undefined;
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  faults.push(`${name} is ${JSON.stringify(text)}; expected a whole number`);
  return undefined;
}
