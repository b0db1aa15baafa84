import { faultOfDeviceName } from '@culvert/contracts';
import { Command } from 'commander';
import { CommandError, EXIT } from '../exit.ts';
import { table, when } from '../table.ts';
import { type AdminAddress, adminAddress } from './admin-address.ts';
import { callAdmin } from './admin-api.ts';
import { addressOf, type Device, deviceOf, stateOf } from './device.ts';
import { accessCommand } from './share-commands.ts';

const EXITS = `
Exit codes: 0 done, 1 the server said no (its words are on standard error), 2 usage, 4 the server cannot be reached.`;

/** Devices asked for at once by \`list\`. */
const PAGE = 500;

interface Flags {
  json?: boolean;
}

/** `culvert device add|list|show|revoke`. */
export function deviceCommands(): Command {
  const device = new Command('device').description('add, list, show and revoke devices (for operators)');
  const add = (usage: string, description: string): Command =>
    device.command(usage).description(description).option('--json', 'print JSON').addHelpText('after', EXITS);

  add('add <name>', 'register a device and print its token, which is shown this once only').action(
    async (name: string, flags: Flags, command: Command) => {
      const made = (await callAdmin(admin(command), 'POST', '/v1/devices', { name: checkedName(name) })) as Record<
        string,
        unknown
      >;
      if (flags.json === true) print(JSON.stringify(made));
      else print(`${made.name} is registered. Its token, shown this once only:\n${made.token}`);
    },
  );
  add('list', 'all devices').action(async (flags: Flags, command: Command) => {
    const devices = await allDevices(admin(command));
    if (flags.json === true) print(JSON.stringify(devices));
    else if (devices.length === 0) print('no devices; register one with: culvert device add NAME');
    else
      print(
        table(
          ['NAME', 'STATE', 'ADDRESSES'],
          devices.map((each) => [each.name, stateOf(each), addresses(each)]),
        ),
      );
  });
  add('show <name>', 'one device, its state and its public addresses').action(
    async (name: string, flags: Flags, command: Command) => {
      const found = deviceOf(await callAdmin(admin(command), 'GET', devicePath(name)));
      print(flags.json === true ? JSON.stringify(found) : describe(found));
    },
  );
  add('revoke <name>', 'withdraw the token, cut live connections and free name and ports').action(
    async (name: string, flags: Flags, command: Command) => {
      const done = (await callAdmin(admin(command), 'DELETE', devicePath(name))) as { missing?: unknown };
      const missing = Array.isArray(done.missing) ? done.missing : [];
      if (flags.json === true) print(JSON.stringify(done));
      else print(`${name} is revoked.`);
      if (missing.length > 0) process.stderr.write(`not yet acknowledged by: ${missing.join(', ')}\n`);
    },
  );
  return device.addCommand(accessCommand());
}

async function allDevices(address: AdminAddress): Promise<Device[]> {
  const devices: Device[] = [];
  let cursor: unknown = '';
  for (;;) {
    const after = typeof cursor === 'string' && cursor !== '' ? `&cursor=${encodeURIComponent(cursor)}` : '';
    const page = (await callAdmin(address, 'GET', `/v1/devices?limit=${PAGE}${after}`)) as {
      devices?: unknown;
      cursor?: unknown;
    };
    const found = Array.isArray(page.devices) ? page.devices : [];
    devices.push(...found.map(deviceOf));
    if (typeof page.cursor !== 'string' || page.cursor === '' || page.cursor === cursor || found.length === 0) return devices;
    cursor = page.cursor;
  }
}

function describe(device: Device): string {
  const facts = [
    ['name', device.name],
    ['state', stateOf(device)],
    ['epoch', device.epoch === null || device.epoch === undefined ? '-' : String(device.epoch)],
    ['since', when(device.since)],
    ['runs out', when(device.due)],
    ['connected from', device.remote ?? '-'],
    ['registered', when(device.created_at)],
  ];
  const width = Math.max(...facts.map(([name]) => (name ?? '').length));
  const lines = facts.map(([name, value]) => `${(name ?? '').padEnd(width)}   ${value}`);
  if (device.endpoints.length === 0) return lines.join('\n');
  const rows = device.endpoints.map((each) => [`${each.scheme}:${each.port}`, addressOf(each), String(each.public_port ?? '-')]);
  return `${lines.join('\n')}\n\n${table(['PORT', 'ADDRESS', 'PUBLIC PORT'], rows)}`;
}

function addresses(device: Device): string {
  return device.endpoints.map(addressOf).join(' ') || '-';
}

function admin(command: Command): AdminAddress {
  return adminAddress(command.optsWithGlobals<{ stateDir?: string }>().stateDir, process.env);
}

function devicePath(name: string): string {
  return `/v1/devices/${encodeURIComponent(checkedName(name))}`;
}

function checkedName(name: string): string {
  const fault = faultOfDeviceName(name);
  if (fault !== undefined) throw new CommandError(EXIT.usage, fault);
  return name;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
