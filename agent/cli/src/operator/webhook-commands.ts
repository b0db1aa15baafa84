import { Command } from 'commander';
import { table, when } from '../table.ts';
import { type AdminAddress, adminAddress } from './admin-address.ts';
import { callAdmin } from './admin-api.ts';

const EXITS = `
Exit codes: 0 done, 1 the server said no (its words are on standard error), 2 usage, 4 the server cannot be reached.`;

interface Flags {
  json?: boolean;
}
interface Webhook {
  id: string;
  url: string;
  types: string[];
  devices: string[];
  state: string;
  disabled_reason: string | null;
}
interface Dead {
  at: number;
  reason: string;
  event: { id: string; type: string; subject: string };
}

const collect = (value: string, all: string[] = []): string[] => [...all, ...value.split(',').filter(Boolean)];

/** `culvert webhook add|list|remove|enable|ping|dead|replay`. */
export function webhookCommands(): Command {
  const webhook = new Command('webhook').description('send events to URLs of yours (for operators)');
  const add = (usage: string, description: string): Command =>
    webhook.command(usage).description(description).option('--json', 'print JSON').addHelpText('after', EXITS);
  /** Prints the answer as it is, or in words. */
  const say = <T>(flags: Flags, answer: unknown, words: (answer: T) => string): void => {
    process.stdout.write(`${flags.json === true ? JSON.stringify(answer) : words(answer as T)}\n`);
  };

  add('add <url>', 'send events from now on to this URL, and print the secret that signs them, which is shown this once only')
    .option('--type <types>', 'only these types or families, such as lease.expired,device.*', collect)
    .option('--device <names>', 'only events about these devices', collect)
    .action(async (url: string, flags: Flags & { type?: string[]; device?: string[] }, command: Command) => {
      const body = { url, types: flags.type ?? [], devices: flags.device ?? [] };
      const made = await callAdmin(admin(command), 'POST', '/v1/webhooks', body);
      say<Webhook & { secret: string }>(
        flags,
        made,
        ({ id, secret }) => `${id} is on. Its secret, shown this once only:\n${secret}`,
      );
    });
  add('list', 'all webhooks').action(async (flags: Flags, command: Command) => {
    const answer = await callAdmin(admin(command), 'GET', '/v1/webhooks');
    say<{ webhooks: Webhook[] }>(flags, answer, ({ webhooks }) => {
      if (webhooks.length === 0) return 'no webhooks; add one with: culvert webhook add URL';
      const rows = webhooks.map((each) => [
        each.id,
        stateOf(each),
        each.types.join(',') || 'all',
        each.devices.join(',') || 'all',
        each.url,
      ]);
      return table(['ID', 'STATE', 'TYPES', 'DEVICES', 'URL'], rows);
    });
  });
  add('remove <id>', 'remove a webhook; what it did not get yet is gone with it').action(
    async (id: string, flags: Flags, command: Command) => {
      say(flags, await callAdmin(admin(command), 'DELETE', path(id)), () => `${id} is removed.`);
    },
  );
  add('enable <id>', 'deliver again after it was disabled, what came meanwhile included').action(
    async (id: string, flags: Flags, command: Command) => {
      say(flags, await callAdmin(admin(command), 'POST', path(id, '/enable')), () => `${id} is on.`);
    },
  );
  add('ping <id>', 'send a test message at once; exit code 1 when it was not taken').action(
    async (id: string, flags: Flags, command: Command) => {
      const result = (await callAdmin(admin(command), 'POST', path(id, '/ping'))) as {
        delivered: boolean;
        reason: string | null;
        ms: number;
      };
      say(flags, result, () => (result.delivered ? `taken after ${result.ms} ms` : `not taken: ${result.reason}`));
      if (!result.delivered) process.exitCode = 1;
    },
  );
  add('dead <id>', 'events that were given up, newest first').action(async (id: string, flags: Flags, command: Command) => {
    const answer = await callAdmin(admin(command), 'GET', path(id, '/dead'));
    say<{ dead: Dead[] }>(flags, answer, ({ dead }) => {
      if (dead.length === 0) return 'no dead letters';
      const rows = dead.map(({ at, event, reason }) => [when(at), event.type, event.subject, event.id, reason]);
      return table(['GIVEN UP', 'TYPE', 'SUBJECT', 'EVENT', 'REASON'], rows);
    });
  });
  add('replay <id>', 'send dead letters again, or every event since a time')
    .option('--since <time>', 'RFC 3339, such as 2026-01-31T13:00:00Z')
    .action(async (id: string, flags: Flags & { since?: string }, command: Command) => {
      const body = flags.since === undefined ? {} : { since: flags.since };
      say(
        flags,
        await callAdmin(admin(command), 'POST', path(id, '/replay'), body),
        () => `the replay of ${id} begins within seconds.`,
      );
    });
  return webhook;
}

const stateOf = ({ state, disabled_reason }: Webhook): string =>
  disabled_reason === null ? state : `${state} (${disabled_reason})`;

function admin(command: Command): AdminAddress {
  return adminAddress(command.optsWithGlobals<{ stateDir?: string }>().stateDir, process.env);
}

function path(id: string, rest = ''): string {
  return `/v1/webhooks/${encodeURIComponent(id)}${rest}`;
}
