import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { CulvertError } from '@culvert/contracts';
import { type ChainableCommander, type Redis, ReplyError } from 'ioredis';
import { keys } from './keys.ts';

interface Script {
  text: string;
  sha: string;
}

const FOLDER = new URL('./scripts/', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, FOLDER), 'utf8');
const scripts = new Map<string, Script>();
function withIncludes(text: string): string {
  return text.replace(/^-- @include (\w+)$/gm, (_, name: string) => withIncludes(read(`includes/${name}.lua`)));
}
for (const file of readdirSync(FOLDER)) {
  const match = /^([a-z_]+)-[0-9]+\.lua$/.exec(file);
  if (match === null) continue;
  const text = withIncludes(read(file));
  scripts.set(match[1] as string, { text, sha: createHash('sha1').update(text).digest('hex') });
}

/** What a script answers when it answers a list: its verdict, then values. */
export type ScriptReply = [verdict: string, ...values: (string | number)[]];

/**
 * Runs a script of the `scripts` folder.
 * @throws CulvertError `unavailable` when Redis is away: then the script has run or has not, nobody knows.
 */
export async function runScript(redis: Redis, name: string, keys: string[], args: (string | number)[]): Promise<unknown> {
  const script = scripts.get(name);
  if (script === undefined) throw new Error(`there is no script ${name}`);
  return guarded(async () => {
    try {
      return await redis.evalsha(script.sha, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return await redis.eval(script.text, keys.length, ...keys, ...args);
    }
  });
}

/** The same for scripts that answer a verdict; `recovering` is thrown. */
export async function runVerdict(redis: Redis, name: string, keys: string[], args: (string | number)[]): Promise<ScriptReply> {
  const reply = (await runScript(redis, name, keys, args)) as ScriptReply;
  if (reply[0] === 'recovering') throw recovering();
  return reply;
}

/**
 * Reads of a store that lives, all at one moment. What an emptied store does not have says nothing.
 * @throws CulvertError `recovering`
 */
export async function readAlive(
  redis: Redis,
  reads: (transaction: ChainableCommander) => ChainableCommander,
): Promise<{ incarnation: string; values: unknown[] }> {
  const replies = await guarded(() => reads(redis.multi().get(keys.incarnation)).exec());
  const [incarnation, ...values] = (replies ?? []).map(([error, value]) => {
    if (error !== null) throw new CulvertError('internal', `store: ${error.message}`, { cause: error });
    return value;
  });
  if (typeof incarnation !== 'string') throw recovering();
  return { incarnation, values };
}

export const recovering = (): CulvertError => new CulvertError('recovering', undefined, { retryAfterMs: 2_000 });

/** Runs reads; an unreachable Redis becomes `unavailable`, a fault in what we sent stays what it is. */
export async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof CulvertError) throw cause;
    const text = cause instanceof Error ? cause.message : String(cause);
    const passing =
      !(cause instanceof ReplyError) ||
      /^(?:LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|EXECABORT|NOREPLICAS|TRYAGAIN|BUSY)/.test(text);
    if (!passing) throw new CulvertError('internal', `store: ${text}`, { cause });
    throw new CulvertError('unavailable', `the store cannot be reached: ${text}`, { cause, retryAfterMs: 2_000 });
  }
}
