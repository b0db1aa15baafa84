import { faultOfDeviceName, parseDuration } from '@culvert/contracts';
import { Command } from 'commander';
import { CommandError, EXIT } from '../exit.ts';
import { table, when } from '../table.ts';
import { type AdminAddress, adminAddress } from './admin-address.ts';
import { callAdmin } from './admin-api.ts';

const EXITS = `
Exit codes: 0 done, 1 the server said no (its words are on standard error), 2 usage, 4 the server cannot be reached.`;
const ACCESS = ['public', 'private', 'default'];

interface ShareFlags {
  for?: string;
  port?: string;
  to?: string;
  label?: string;
  list?: boolean;
  withdraw?: string;
  json?: boolean;
}

/** `culvert share`: links that open the pages of a private device. */
export function shareCommand(): Command {
  return new Command('share')
    .description('make, list and withdraw links that open a private device (for operators)')
    .argument('<name>', 'the device')
    .option('--for <duration>', 'how long the link is good, such as 30m, 1h or 7d (default: 1h)')
    .option('--port <port>', "the device's own number of the page (default: its first one, and the link opens all of them)")
    .option('--to <path>', 'where on the page the link leads to (default: /)')
    .option('--label <text>', 'whom it is for, to be told apart in the list')
    .option('--list', 'show the links that are good now')
    .option('--withdraw <id>', 'end a link, and what it opened; "all" ends every one')
    .option('--json', 'print JSON')
    .addHelpText('after', EXITS)
    .action(async (name: string, flags: ShareFlags, command: Command) => {
      const at = admin(command);
      const grants = `${pathOf(name)}/grants`;
      if (flags.list === true) return list(at, grants, flags.json === true);
      if (flags.withdraw !== undefined) return withdraw(at, grants, flags.withdraw, flags.json === true);
      const made = (await callAdmin(at, 'POST', grants, wishOf(flags))) as { url: string; expires_at: number };
      const warning = await warningOf(at, name);
      print(
        flags.json === true ? JSON.stringify(made) : `${made.url}\nGood until ${when(made.expires_at)}; shown this once only.`,
      );
      if (warning !== undefined) process.stderr.write(`${warning}\n`);
    });
}

/** `culvert device access`. */
export function accessCommand(): Command {
  return new Command('access')
    .description('show, or set, who may open the pages of a device')
    .argument('<name>', "the device, or NAME:PORT for one endpoint by the device's own number")
    .argument(
      '[access]',
      'public, private (only with a link of: culvert share) or default (as the device, or the server, is set)',
    )
    .option('--json', 'print JSON')
    .addHelpText('after', EXITS)
    .action(async (name: string, access: string | undefined, flags: { json?: boolean }, command: Command) => {
      if (access !== undefined && !ACCESS.includes(access)) {
        throw new CommandError(EXIT.usage, `access is ${JSON.stringify(access)}; expected ${ACCESS.join(', ')}`);
      }
      const [device = '', port] = name.split(':', 2);
      const which = port === undefined ? '' : `?port=${portOf('port', port)}`;
      const path = `${pathOf(device)}/access${which}`;
      const at = admin(command);
      const is = await (access === undefined ? callAdmin(at, 'GET', path) : callAdmin(at, 'PUT', path, { access }));
      const shown = is as { access: string; effective: string };
      print(
        flags.json === true
          ? JSON.stringify(is)
          : shown.access === 'default'
            ? `${shown.effective} (by default)`
            : shown.effective,
      );
    });
}

function wishOf(flags: ShareFlags): Record<string, unknown> {
  const forMs = flags.for === undefined ? undefined : parseDuration(flags.for);
  if (flags.for !== undefined && forMs === undefined) {
    throw new CommandError(EXIT.usage, `--for is ${JSON.stringify(flags.for)}; expected a duration such as 30m, 1h or 7d`);
  }
  const port = flags.port === undefined ? undefined : portOf('--port', flags.port);
  const { to, label } = flags;
  return Object.fromEntries(Object.entries({ for_ms: forMs, port, to, label }).filter(([, value]) => value !== undefined));
}

function portOf(what: string, text: string): number {
  const port = Number(text);
  if (/^[0-9]+$/.test(text) && port >= 1 && port <= 65_535) return port;
  throw new CommandError(EXIT.usage, `${what} is ${JSON.stringify(text)}; expected 1 to 65535`);
}

/** A link to a public page works, but keeps nobody out. */
async function warningOf(at: AdminAddress, name: string): Promise<string | undefined> {
  const { effective } = (await callAdmin(at, 'GET', `${pathOf(name)}/access`)) as { effective: string };
  if (effective === 'private') return undefined;
  return `${name} is public: its page opens without the link. To change that: culvert device access ${name} private`;
}

interface Grant {
  id: string;
  label: string;
  created_by: string;
  expires_at: number;
}

async function grantsOf(at: AdminAddress, path: string): Promise<Grant[]> {
  return ((await callAdmin(at, 'GET', path)) as { grants: Grant[] }).grants;
}

async function list(at: AdminAddress, path: string, json: boolean): Promise<void> {
  const grants = await grantsOf(at, path);
  if (json) print(JSON.stringify(grants));
  else if (grants.length === 0) print('no links are good now');
  else {
    const rows = grants.map(({ id, label, created_by, expires_at }) => [
      id.slice(0, 12),
      label || '-',
      created_by,
      when(expires_at),
    ]);
    print(table(['ID', 'LABEL', 'MADE BY', 'GOOD UNTIL'], rows));
  }
}

/** Ids may be cut short as long as they are one's only. */
async function withdraw(at: AdminAddress, path: string, wanted: string, json: boolean): Promise<void> {
  const grants = await grantsOf(at, path);
  const found = wanted === 'all' ? grants : grants.filter(({ id }) => wanted !== '' && id.startsWith(wanted));
  if (wanted !== 'all' && found.length !== 1) {
    throw new CommandError(
      EXIT.failed,
      `${found.length === 0 ? 'no link has' : 'several links have'} the id ${wanted}; see --list`,
    );
  }
  for (const { id } of found) await callAdmin(at, 'DELETE', `${path}/${id}`);
  print(json ? JSON.stringify({ withdrawn: found.map(({ id }) => id) }) : `${found.length} withdrawn`);
}

function admin(command: Command): AdminAddress {
  return adminAddress(command.optsWithGlobals<{ stateDir?: string }>().stateDir, process.env);
}

function pathOf(name: string): string {
  const fault = faultOfDeviceName(name);
  if (fault !== undefined) throw new CommandError(EXIT.usage, fault);
  return `/v1/devices/${encodeURIComponent(name)}`;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
