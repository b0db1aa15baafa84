import { Command } from 'commander';
import { table, when } from '../table.ts';
import type { AdminAddress } from './admin-address.ts';
import { callAdmin } from './admin-api.ts';
import {
  admin,
  allPages,
  checkedName,
  collect,
  devicePath,
  type Flags,
  print,
  say,
  subcommand,
  wholeNumber,
} from './command-kit.ts';
import { addressOf, type Device, deviceOf, stateOf } from './device.ts';
import { addDeviceSettings } from './device-settings-commands.ts';
import { labelsText } from './enroll-key-commands.ts';
import { hostCommand } from './host-command.ts';
import { accessCommand } from './share-commands.ts';
import { addSteering } from './steer-commands.ts';

interface ListFlags extends Flags {
  label?: string[];
  search?: string;
  state?: string[];
  sort?: string;
}
interface HistoryEvent {
  time: string;
  type: string;
  data: Record<string, unknown>;
}

/** `culvert device add|list|history|show|revoke|rotate|label|policy|host`. */
export function deviceCommands(): Command {
  const device = new Command('device').description('add, list, show, change and revoke devices (for operators)');
  const add = (usage: string, description: string): Command => subcommand(device, usage, description);

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
  const list = add('list', 'all devices, or those that fit')
    .option('--label <name=value>', 'only these; several: with all', collect)
    .option('--search <words>', 'only those with these words in name, labels, host names, ports, address or notes')
    .option('--state <state>', 'only connected, reconnecting, grace, offline or revoked ones; several: any of them', collect)
    .option('--sort <key>', 'by name, state, since, due, created_at, remote, listener or ingress; -since: the other way round');
  list.action(async (flags: ListFlags, command: Command) => {
    const devices = await allDevices(admin(command), flags);
    if (flags.json === true) print(JSON.stringify(devices));
    else if (devices.length === 0) print('no devices; register one with: culvert device add NAME');
    else {
      const rows = devices.map((each) => [each.name, stateOf(each), when(each.since), addresses(each)]);
      print(table(['NAME', 'STATE', 'SINCE', 'ADDRESSES'], rows));
    }
  });
  add('history <name>', 'the last events about a device, newest first')
    .option('--limit <n>', 'at most so many, up to 500', '50')
    .action(async (name: string, flags: Flags & { limit: string }, command: Command) => {
      const path = devicePath(name, `/events?limit=${wholeNumber(flags.limit, '--limit')}`);
      const { events } = (await callAdmin(admin(command), 'GET', path)) as { events: HistoryEvent[] };
      const rows = events.map(({ time, type, data }) => [when(time), type, String(data.reason ?? '-'), String(data.epoch)]);
      const words = events.length === 0 ? 'nothing is known of it' : table(['WHEN', 'WHAT', 'REASON', 'EPOCH'], rows);
      say(flags, events, words);
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
  addDeviceSettings(device);
  hostCommand(device);
  addSteering(device);
  return device.addCommand(accessCommand());
}

async function allDevices(address: AdminAddress, { label, search, state, sort }: ListFlags): Promise<Device[]> {
  const query = new URLSearchParams();
  for (const one of label ?? []) query.append('label', one);
  for (const one of state ?? []) query.append('state', one);
  if (search !== undefined) query.set('q', search);
  if (sort !== undefined) query.set('sort', sort);
  return (await allPages<unknown>(address, query.size === 0 ? '/v1/devices' : `/v1/devices?${query}`, 'devices')).map(deviceOf);
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
    ['labels', labelsText(device.labels ?? {})],
    ['notes', device.notes || '-'],
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
