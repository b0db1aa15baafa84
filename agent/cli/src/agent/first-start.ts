import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { createToken, enroll, isToken } from '@culvert/agent';
import { CulvertError, ERRORS } from '@culvert/contracts';
import { CommandError, EXIT, textOf, usageError } from '../exit.ts';
import { type AgentFlags, certificates } from './agent-options.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const FIRST_WAIT_MS = 1_000;
const MOST_WAIT_MS = 60_000;

/** Where the token of a device that enrols is kept unless --token-file says otherwise. */
export function defaultTokenFile(name: string): string {
  return join(homedir(), '.culvert', `${name}.token`);
}

/** The enrolment key of the flags or the environment; undefined when there is none. */
export function enrollKey(flags: AgentFlags, env: Environment): string | undefined {
  const given = [flags.enroll, flags.enrollFile, env.CULVERT_ENROLL_KEY].filter((one) => one !== undefined && one !== '');
  if (given.length === 0) return undefined;
  let key = flags.enroll ?? env.CULVERT_ENROLL_KEY ?? '';
  if (flags.enrollFile !== undefined) {
    try {
      key = readFileSync(flags.enrollFile, 'utf8').trim();
    } catch (err) {
      throw usageError([`--enroll-file cannot be read: ${textOf(err)}`], 'agent');
    }
  }
  if (!isToken(key)) throw usageError(['the enrolment key is none; expected the one of culvert enroll-key add'], 'agent');
  return key;
}

/**
 * The first start of a device that has an enrolment key: it makes its token, keeps it, and has the server know it. Nothing
 * happens when the token file is there. Cut anywhere, the next start goes on with the same token, which counts as one use.
 *
 * @returns The flags with the token file in them.
 * @throws CommandError when the server says no for good; while it cannot be reached it is asked again.
 */
export async function firstStart(flags: AgentFlags, env: Environment, signal: AbortSignal): Promise<AgentFlags> {
  const key = enrollKey(flags, env);
  const { name, server: servers } = flags;
  if (key === undefined || name === undefined || servers === undefined) return flags; // what is missing is named with all other faults
  const file = flags.tokenFile ?? defaultTokenFile(name);
  if (existsSync(file)) return { ...flags, tokenFile: file };
  const faults: string[] = [];
  if (env.CULVERT_TOKEN !== undefined) faults.push('an enrolment key and CULVERT_TOKEN are both given; expected one of them');
  const ca = certificates(flags.caFile, env, faults);
  if (faults.length > 0) throw usageError(faults, 'agent');
  const kept = `${file}.new`;
  const proxy = flags.proxy === undefined ? {} : { proxy: flags.proxy === '' ? null : flags.proxy };
  const asked = { servers, name, key, token: tokenIn(kept), ca, pins: flags.pin, signal, ...proxy };
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(MOST_WAIT_MS, waitMs * 2)) {
    try {
      await enroll(asked);
      break;
    } catch (error) {
      if (signal.aborted) throw new CommandError(EXIT.ok, 'stopped');
      const again = error instanceof CulvertError && ERRORS[error.code].retry === 'yes';
      if (!again) throw new CommandError(EXIT.failed, 'cannot enrol', { cause: error });
      const ms = Math.max(waitMs, error.retryAfterMs ?? 0) * (1 + Math.random() / 4);
      process.stderr.write(`not enrolled yet: ${error.message}; next try in ${(ms / 1000).toFixed(1)} s\n`);
      await wait(ms, undefined, { signal }).catch(() => {});
    }
  }
  renameSync(kept, file);
  return { ...flags, tokenFile: file };
}

/** The token that an earlier start has made, or a new one, on disk and readable by this user only. */
function tokenIn(file: string): string {
  try {
    const token = readFileSync(file, 'utf8').trim();
    if (isToken(token)) return token;
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ENOENT')
      throw new CommandError(EXIT.failed, 'the token that was made before cannot be read', { cause: err });
  }
  const token = createToken();
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const handle = openSync(file, 'w', 0o600);
    writeSync(handle, `${token}\n`);
    fsyncSync(handle);
    closeSync(handle);
  } catch (err) {
    throw new CommandError(EXIT.failed, 'the token cannot be kept', { cause: err });
  }
  return token;
}
