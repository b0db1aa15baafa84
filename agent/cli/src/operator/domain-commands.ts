import { readFileSync } from 'node:fs';
import { faultOfDeviceName } from '@culvert/contracts';
import { Command } from 'commander';
import { CommandError, EXIT, textOf } from '../exit.ts';
import { table, when } from '../table.ts';
import { type AdminAddress, adminAddress } from './admin-address.ts';
import { callAdmin } from './admin-api.ts';

const EXITS = `
Exit codes: 0 done, 1 the server said no (its words are on standard error), 2 usage, 4 the server cannot be reached.`;

interface Domain {
  host: string;
  device: string;
  port: number;
  not_after: number;
  state: string;
}

interface AddFlags {
  device: string;
  port: string;
  cert: string;
  key: string;
  json?: boolean;
}

/** `culvert domain add|list|remove`: host names of devices' own. */
export function domainCommands(): Command {
  const domain = new Command('domain').description('let host names of their own lead to devices (for operators)');
  const add = (usage: string, description: string): Command =>
    domain.command(usage).description(description).option('--json', 'print JSON').addHelpText('after', EXITS);

  add('add <host>', 'let a name lead to a device, or renew its certificate; point its DNS at the edge')
    .requiredOption('--device <name>', 'the device that it leads to')
    .option('--port <port>', "the device's own number of the page", '80')
    .requiredOption('--cert <file>', 'certificate chain for the name, PEM, leaf first')
    .requiredOption('--key <file>', 'its private key, PEM')
    .action(async (host: string, flags: AddFlags, command: Command) => {
      const made = (await callAdmin(admin(command), 'PUT', pathOf(host), wishOf(flags))) as Domain;
      if (flags.json === true) return print(JSON.stringify(made));
      print(`${made.host} leads to port ${made.port} of ${made.device}, with a certificate until ${when(made.not_after)}.`);
    });
  add('list', 'all of them, and when their certificates run out')
    .option('--device <name>', 'only those of this device')
    .action(async (flags: { device?: string; json?: boolean }, command: Command) => {
      const domains = await allDomains(admin(command), flags.device);
      if (flags.json === true) return print(JSON.stringify(domains));
      if (domains.length === 0) return print('no domains; add one with: culvert domain add HOST --device NAME');
      const rows = domains.map(({ host, device, port, not_after, state }) => [
        ...[host, device, String(port)],
        `${when(not_after)}${state === 'good' ? '' : ` (${state})`}`,
      ]);
      print(table(['HOST', 'DEVICE', 'PORT', 'CERTIFICATE UNTIL'], rows));
    });
  add('remove <host>', 'forget a name, its certificate and its key').action(
    async (host: string, flags: { json?: boolean }, command: Command) => {
      const done = (await callAdmin(admin(command), 'DELETE', pathOf(host))) as { host: string };
      print(flags.json === true ? JSON.stringify(done) : `${done.host} is removed.`);
    },
  );
  return domain;
}

function wishOf({ device, port, cert, key }: AddFlags): Record<string, unknown> {
  const fault = faultOfDeviceName(device);
  if (fault !== undefined) throw new CommandError(EXIT.usage, fault);
  if (!/^[0-9]{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) {
    throw new CommandError(EXIT.usage, `--port is ${JSON.stringify(port)}; expected 1 to 65535`);
  }
  return { device, port: Number(port), certificate: readPem('--cert', cert), key: readPem('--key', key) };
}

function readPem(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (err) {
    throw new CommandError(EXIT.usage, `${flag} ${path} cannot be read: ${textOf(err)}`, { cause: err });
  }
}

async function allDomains(at: AdminAddress, device: string | undefined): Promise<Domain[]> {
  const all: Domain[] = [];
  let cursor: string | null = '';
  while (cursor !== null) {
    const query = new URLSearchParams({
      limit: '500',
      ...(cursor === '' ? {} : { cursor }),
      ...(device === undefined ? {} : { device }),
    });
    const page = (await callAdmin(at, 'GET', `/v1/domains?${query}`)) as { domains: Domain[]; cursor: string | null };
    all.push(...page.domains);
    cursor = page.cursor;
  }
  return all;
}

const pathOf = (host: string): string => `/v1/domains/${encodeURIComponent(host)}`;

function admin(command: Command): AdminAddress {
  return adminAddress(command.optsWithGlobals<{ stateDir?: string }>().stateDir, process.env);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
