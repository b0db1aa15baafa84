import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CommandError, textOf } from '../exit.ts';
import { type AdminAddress, adminAddress } from '../operator/admin-address.ts';
import { callAdmin, trust } from '../operator/admin-api.ts';
import { type Finding, failed, ok, warning } from './check.ts';
import { clockOf } from './network.ts';

/** What a running stack of this machine says of itself; undefined without one. */
export interface LocalStack {
  edge: string;
  domain: string;
  ca: string | null;
}

export function localStack(stateDir: string): LocalStack | undefined {
  const file = join(stateDir, 'stack.json');
  if (!existsSync(file)) return undefined;
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as LocalStack;
  } catch {
    return undefined;
  }
}

interface Instance {
  id: string;
  state: string;
}

/** Can the admin API be used from here, and is the system well? */
export async function adminApi(stateDir: string | undefined): Promise<Finding[]> {
  let address: AdminAddress;
  try {
    address = adminAddress(stateDir, process.env);
  } catch (error) {
    return [
      failed(
        'admin',
        'address',
        textOf(error).split('\n')[0] ?? '',
        'start a stack here, or set CULVERT_ADMIN_URL and CULVERT_ADMIN_TOKEN',
      ),
    ];
  }
  const found: Finding[] = [];
  try {
    const who = (await callAdmin(address, 'GET', '/v1/login')) as { name: string; role: string };
    found.push(ok('admin', 'token', `${address.url} knows us as ${who.name}, ${who.role}`));
  } catch (error) {
    const refused = error instanceof CommandError && error.exitCode === 1;
    const advice = refused ? 'ask an admin for a token: culvert operator add NAME' : 'is admin running, and is this its address?';
    return [failed('admin', 'token', textOf(error).split('\n')[0] ?? '', advice)];
  }
  found.push(await clock(address));
  try {
    const { instances } = (await callAdmin(address, 'GET', '/v1/instances')) as { instances: Instance[] };
    const away = instances.filter(({ state }) => state !== 'live').map(({ id, state }) => `${id} is ${state}`);
    const live = instances.length - away.length;
    if (away.length === 0) found.push(ok('admin', 'instances', `${live} live`));
    else
      found.push(
        warning('admin', 'instances', `${live} live, ${away.join(', ')}`, 'look into their logs if that is not meant so'),
      );
  } catch (error) {
    found.push(failed('admin', 'instances', textOf(error).split('\n')[0] ?? '', 'is Redis there, and a lease-manager?'));
  }
  return found;
}

async function clock({ url, caFile }: AdminAddress): Promise<Finding> {
  trust(caFile);
  const answer = await fetch(`${url}/openapi.json`, { method: 'HEAD', signal: AbortSignal.timeout(10_000) }).catch(
    () => undefined,
  );
  return clockOf('against admin', { headers: { date: answer?.headers.get('date') ?? undefined }, at: Date.now() });
}
