import { parsePortList } from '@culvert/contracts';
import type { Command } from 'commander';
import { CommandError, EXIT } from '../exit.ts';
import { callAdmin } from './admin-api.ts';
import { admin, collect, devicePath, type Flags, print, say, subcommand, wholeNumber } from './command-kit.ts';
import { labelsText } from './enroll-key-commands.ts';

interface PolicyFlags extends Flags {
  visitors?: string;
  newVisitors?: string;
  perAddress?: string;
  requests?: string;
  idle?: string;
  bytes?: string;
  ports?: string;
  forward?: string;
  allow?: string[];
  clear?: boolean;
}

const POLICY_HELP = `
Without options it prints the policy. With options it changes what they name; "none" takes a rule away. It holds at once, for
visitors who are there as well; --ports from the next connection of the device on.
  culvert device policy alice --visitors 50 --bytes 1000000 --ports tcp:22,http:* --allow 22=10.0.0.0/8,192.0.2.7`;

/** Adds `rotate`, `label` and `policy` to `culvert device`. */
export function addDeviceSettings(device: Command): void {
  subcommand(device, 'rotate <name>', 'print a new token, shown this once only; both are good until the new one is used first')
    .option('--at-once', 'the old one is dead for new connections from now on')
    .action(async (name: string, flags: Flags & { atOnce?: boolean }, command: Command) => {
      const query = flags.atOnce === true ? '?at_once=true' : '';
      const made = (await callAdmin(admin(command), 'POST', devicePath(name, `/token${query}`))) as { token: string };
      say(flags, made, `The new token of ${name}, shown this once only:\n${made.token}`);
    });

  subcommand(device, 'label <name> [LABEL...]', 'set labels (site=berlin), remove them (site=), or print them')
    .option('--notes <text>', 'notes for people')
    .action(async (name: string, words: string[], flags: Flags & { notes?: string }, command: Command) => {
      const labels = Object.fromEntries(words.map(labelOf));
      const notes = flags.notes === undefined ? {} : { notes: flags.notes };
      const changes = words.length > 0 || flags.notes !== undefined;
      const answer = changes
        ? await callAdmin(admin(command), 'PATCH', devicePath(name), { labels, ...notes })
        : await callAdmin(admin(command), 'GET', devicePath(name));
      const shown = answer as { labels: Record<string, string>; notes: string };
      say(
        flags,
        { labels: shown.labels, notes: shown.notes },
        `${labelsText(shown.labels)}${shown.notes ? `\n${shown.notes}` : ''}`,
      );
    });

  subcommand(device, 'policy <name>', 'what a device is allowed')
    .option('--visitors <n>', 'visitors at once')
    .option('--new-visitors <n>', 'new visitors a second')
    .option('--per-address <n>', 'visitors at once from one address, at its tcp ports')
    .option('--requests <n>', 'requests a second for its pages, at each edge')
    .option('--idle <seconds>', 'a visitor of a tcp port who is silent for so long is ended')
    .option('--bytes <n>', 'bytes a second, of all its visitors together')
    .option('--ports <list>', 'ports it may offer, such as tcp:22,http:*')
    .option(
      '--forward <list>',
      'ports that operators may reach without a public one, such as 22,5432; the agent must allow them, too',
    )
    .option('--allow <port=networks>', 'who may visit a tcp port, such as 22=10.0.0.0/8,2001:db8::/32; several', collect)
    .option('--clear', 'take all rules away first')
    .addHelpText('after', POLICY_HELP)
    .action(async (name: string, flags: PolicyFlags, command: Command) => {
      const path = devicePath(name, '/policy');
      const present = flags.clear === true ? {} : ((await callAdmin(admin(command), 'GET', path)) as Record<string, unknown>);
      const policy = changed(present, flags);
      const asked = flags.clear === true || policy !== present;
      print(
        JSON.stringify(asked ? await callAdmin(admin(command), 'PUT', path, policy) : policy, null, flags.json === true ? 0 : 2),
      );
    });
}

function labelOf(word: string): [string, string | null] {
  const at = word.indexOf('=');
  if (at < 1) throw new CommandError(EXIT.usage, `label is ${JSON.stringify(word)}; expected name=value, or name= to remove it`);
  const value = word.slice(at + 1);
  return [word.slice(0, at), value === '' ? null : value];
}

/** The policy with the flags' changes; the very same when they name none. */
function changed(present: Record<string, unknown>, flags: PolicyFlags): Record<string, unknown> {
  const changes: [string, unknown][] = [];
  const number = (field: string, text: string | undefined, option: string): void => {
    if (text !== undefined) changes.push([field, text === 'none' ? undefined : wholeNumber(text, option)]);
  };
  number('visitors', flags.visitors, '--visitors');
  number('visitors_per_second', flags.newVisitors, '--new-visitors');
  number('visitors_per_address', flags.perAddress, '--per-address');
  number('requests_per_second', flags.requests, '--requests');
  number('idle_seconds', flags.idle, '--idle');
  number('bytes_per_second', flags.bytes, '--bytes');
  if (flags.ports !== undefined) changes.push(['ports', flags.ports === 'none' ? undefined : flags.ports.split(',').map(portOf)]);
  if (flags.forward !== undefined) {
    const ports = flags.forward === 'none' ? undefined : flags.forward.split(',').map((port) => wholeNumber(port, '--forward'));
    changes.push(['forward', ports]);
  }
  for (const text of flags.allow ?? []) {
    const [port = '', networks = ''] = text.split('=', 2);
    const allow = (changes.find(([field]) => field === 'allow')?.[1] ?? present.allow ?? []) as { port: number }[];
    const others = allow.filter((one) => one.port !== wholeNumber(port, '--allow'));
    changes.push(['allow', networks === 'none' ? others : [...others, { port: Number(port), from: networks.split(',') }]]);
  }
  if (changes.length === 0) return present;
  const policy = { ...present, ...Object.fromEntries(changes) };
  return Object.fromEntries(Object.entries(policy).filter(([, value]) => value !== undefined));
}

function portOf(text: string): string {
  if (/^(?:http|https|tcp):\*$/.test(text)) return text;
  const parsed = parsePortList(text);
  if (!parsed.ok) throw new CommandError(EXIT.usage, `--ports: ${parsed.fault}, or [http|https|tcp]:*`);
  return parsed.ports.map(({ scheme, port }) => `${scheme}:${port}`).join();
}
