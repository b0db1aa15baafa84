import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Access, type AccessOptions, faultsOfAccess, isToken } from '@culvert/agent';
import { CulvertError } from '@culvert/contracts';
import type { Command } from 'commander';
import { certificates } from '../../agent/agent-options.ts';
import { CommandError, EXIT, textOf, usageError } from '../../exit.ts';

/** Options of `culvert forward` and `culvert socks` as commander gives them. */
export interface AccessFlags {
  server?: string;
  tokenFile?: string;
  caFile?: string;
  pin?: string[];
  proxy?: string;
  json?: boolean;
  stateDir?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

export const ACCESS_HELP = `
The server is --server, or CULVERT_SERVER; the operator's token is in --token-file, or CULVERT_ADMIN_TOKEN. Without any of
them both are those of the stack that runs here (--state-dir, CULVERT_STATE_DIR, .culvert). The token never stands on the
command line. HTTPS_PROXY, HTTP_PROXY and NO_PROXY are obeyed; --proxy goes before them, and --proxy "" means none.`;

const collect = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

export function withAccessOptions(command: Command): Command {
  return command
    .option('--server <url>', 'origin of the server, https://HOST')
    .option('--token-file <file>', "file that holds the operator's token")
    .option('--ca, --ca-file <file>', 'certificates (PEM) to trust besides the usual ones (default: CULVERT_CA_FILE)')
    .option('--pin <sha256/base64>', "the server's key must be this one (its SPKI); several: one of them", collect)
    .option('--proxy <url>', 'HTTP proxy, http://[user:password@]host:port')
    .option('--json', 'print one event a line, as JSON');
}

/** @throws CommandError (usage) with all faults at once; unreachable when no stack runs here and no server is named. */
export function accessOf(flags: AccessFlags, faults: string[], command: string, env: Environment): Access {
  const named = flags.stateDir === undefined && [flags.server, flags.tokenFile, env.CULVERT_SERVER, env.CULVERT_ADMIN_TOKEN];
  const fromStack = named === false || named.every((one) => one === undefined);
  const { server, token, caFile } = fromStack ? stackOf(flags, env) : namedBy(flags, env, faults);
  const ca = certificates(flags.caFile ?? caFile, env, faults);
  const options: AccessOptions = {
    server: server ?? 'http://localhost',
    token,
    ...(flags.proxy === undefined ? {} : { proxy: flags.proxy === '' ? null : flags.proxy }),
    ...(ca === undefined ? {} : { ca }),
    ...(flags.pin === undefined ? {} : { pins: flags.pin }),
  };
  faults.push(...faultsOfAccess(options));
  if (faults.length > 0) throw usageError(faults, command);
  return new Access(options);
}

/** What the shell is told of a connection that could not be made. */
export function exitCodeOf(error: CulvertError): number {
  if (error.code === 'device_offline') return EXIT.offline;
  return error.code === 'unavailable' ? EXIT.unreachable : EXIT.failed;
}

/** The error for people, and its exit code; anything else is thrown on. */
export function commandErrorOf(error: unknown): unknown {
  if (!(error instanceof CulvertError)) return error;
  const hint = error.code === 'unauthorized' ? "\nThe operator's token is wrong, or has been withdrawn." : '';
  return new CommandError(exitCodeOf(error), `${error.message} (${error.code})${hint}`);
}

interface Source {
  server: string | undefined;
  token: () => string;
  /** The certificate authority of a stack that has its own. */
  caFile?: string | undefined;
}

function namedBy(flags: AccessFlags, env: Environment, faults: string[]): Source {
  const server = flags.server ?? env.CULVERT_SERVER;
  if (server === undefined) faults.push('no server; expected --server URL or the environment variable CULVERT_SERVER');
  const token = flags.tokenFile === undefined ? env.CULVERT_ADMIN_TOKEN : read(flags.tokenFile, '--token-file', faults);
  const text = token?.trim();
  if (text === undefined) faults.push('no token; expected --token-file FILE or the environment variable CULVERT_ADMIN_TOKEN');
  else if (!isToken(text)) faults.push(`${flags.tokenFile ?? 'CULVERT_ADMIN_TOKEN'} holds no token`);
  return { server, token: () => text ?? '' };
}

/** Read anew for every connection: a stack that was started again may have other secrets. */
function stackOf(flags: AccessFlags, env: Environment): Source {
  const file = join(flags.stateDir ?? env.CULVERT_STATE_DIR ?? '.culvert', 'stack.json');
  const stack = (): { edge: string; adminToken: string; ca: string | undefined } => {
    try {
      const found = JSON.parse(readFileSync(file, 'utf8')) as { edge?: unknown; adminToken?: unknown; ca?: unknown };
      if (typeof found.edge === 'string' && typeof found.adminToken === 'string') {
        return { edge: found.edge, adminToken: found.adminToken, ca: typeof found.ca === 'string' ? found.ca : undefined };
      }
    } catch (err) {
      const why = (err as NodeJS.ErrnoException).code === 'ENOENT' ? 'it is not there' : textOf(err);
      const advice = 'Start the stack (npm start), name its state directory with --state-dir, or give --server and a token.';
      throw new CommandError(EXIT.unreachable, `cannot read ${file}: ${why}.\n${advice}`);
    }
    throw new CommandError(EXIT.unreachable, `${file} has no edge and adminToken; expected the file that a running stack writes`);
  };
  const { edge, ca } = stack();
  return { server: edge, caFile: ca, token: () => stack().adminToken };
}

function read(file: string, option: string, faults: string[]): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (err) {
    faults.push(`${option} cannot be read: ${textOf(err)}`);
    return '';
  }
}
