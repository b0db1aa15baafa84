import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CommandError, EXIT, textOf } from '../exit.ts';

/** Where the admin API is and the token it wants. */
export interface AdminAddress {
  url: string;
  token: string;
  /** File with the authority to trust besides the usual ones. */
  caFile?: string | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Finds the admin API: `--state-dir` first, then CULVERT_ADMIN_URL with CULVERT_ADMIN_TOKEN, then CULVERT_STATE_DIR, then
 * `.culvert` here.
 *
 * @throws CommandError: usage for half a setting, unreachable when no stack runs there.
 */
export function adminAddress(stateDir: string | undefined, env: Environment): AdminAddress {
  if (stateDir !== undefined) return fromStateDir(stateDir);
  const url = env.CULVERT_ADMIN_URL;
  const token = env.CULVERT_ADMIN_TOKEN;
  if (url !== undefined && token !== undefined) {
    return { ...checked(url, token, 'CULVERT_ADMIN_URL'), caFile: env.CULVERT_CA_FILE };
  }
  if (url !== undefined || token !== undefined) {
    const missing = url === undefined ? 'CULVERT_ADMIN_URL' : 'CULVERT_ADMIN_TOKEN';
    throw new CommandError(EXIT.usage, `${missing} is missing; CULVERT_ADMIN_URL and CULVERT_ADMIN_TOKEN go together`);
  }
  return fromStateDir(env.CULVERT_STATE_DIR ?? '.culvert');
}

function fromStateDir(dir: string): AdminAddress {
  const file = join(dir, 'stack.json');
  let stack: { admin?: unknown; adminToken?: unknown; ca?: unknown } | null;
  try {
    stack = JSON.parse(readFileSync(file, 'utf8')) as typeof stack;
  } catch (err) {
    const reason = (err as NodeJS.ErrnoException).code === 'ENOENT' ? 'it is not there' : textOf(err);
    throw new CommandError(
      EXIT.unreachable,
      `cannot read ${file}: ${reason}.\nStart the stack (npm start), name its state directory with --state-dir, or set CULVERT_ADMIN_URL and CULVERT_ADMIN_TOKEN.`,
    );
  }
  if (typeof stack?.admin !== 'string' || typeof stack.adminToken !== 'string') {
    throw new CommandError(
      EXIT.unreachable,
      `${file} has no admin and adminToken; expected the file that a running stack writes`,
    );
  }
  return { ...checked(stack.admin, stack.adminToken, file), caFile: typeof stack.ca === 'string' ? stack.ca : undefined };
}

function checked(url: string, token: string, source: string): AdminAddress {
  if (!URL.canParse(url) || !/^https?:/.test(url)) {
    throw new CommandError(EXIT.usage, `${source} holds ${JSON.stringify(url)}; expected a URL such as http://127.0.0.1:8081`);
  }
  return { url: url.replace(/\/+$/, ''), token };
}
