import { Command } from 'commander';
import { table, when } from '../table.ts';
import { callAdmin } from './admin-api.ts';
import { admin, allPages, collect, durationOrNever, type Flags, pairsOf, say, subcommand, wholeNumber } from './command-kit.ts';

interface KeyView {
  id: string;
  labels: Record<string, string>;
  notes: string;
  uses_left: number | null;
  created_by: string;
  expires_at: number | null;
}

interface AddFlags extends Flags {
  uses: string;
  expires: string;
  label?: string[];
  notes?: string;
}

export const labelsText = (labels: Record<string, string>): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ') || '-';

/** `culvert enroll-key add|list|withdraw`. */
export function enrollKeyCommands(): Command {
  const key = new Command('enroll-key').description(
    'keys with which devices fetch their tokens at their first start (for operators)',
  );

  subcommand(key, 'add', 'make a key and print it; it is shown this once only')
    .option('--uses <n>', 'how many devices may enrol with it, or: any', '1')
    .option('--expires <duration>', 'such as 30m, 24h, 7d, or: never', '24h')
    .option('--label <name=value>', 'what its devices are labelled; several', collect)
    .option('--notes <text>', 'what it is for')
    .action(async (flags: AddFlags, command: Command) => {
      const made = (await callAdmin(admin(command), 'POST', '/v1/enrolment-keys', {
        uses: flags.uses === 'any' ? null : wholeNumber(flags.uses, '--uses'),
        expires_in_ms: durationOrNever(flags.expires, '--expires'),
        labels: pairsOf(flags.label ?? [], '--label'),
        notes: flags.notes ?? '',
      })) as { id: string; key: string };
      const hint = 'On the device: culvert agent --enroll-file FILE with it in FILE, or CULVERT_ENROLL_KEY.';
      say(flags, made, `Enrolment key ${made.id}, shown this once only:\n${made.key}\n${hint}`);
    });
  subcommand(key, 'list', 'all keys that are not withdrawn and have not expired').action(
    async (flags: Flags, command: Command) => {
      const keys = await allPages<KeyView>(admin(command), '/v1/enrolment-keys', 'keys');
      const rows = keys.map((one) => [
        ...[
          one.id,
          one.uses_left === null ? 'any' : String(one.uses_left),
          one.expires_at === null ? 'never' : when(one.expires_at),
        ],
        ...[one.created_by, labelsText(one.labels), one.notes],
      ]);
      say(flags, keys, table(['ID', 'USES LEFT', 'EXPIRES', 'BY', 'LABELS', 'NOTES'], rows));
    },
  );
  subcommand(key, 'withdraw <id>', 'nobody enrols with it any more; devices that have enrolled stay').action(
    async (id: string, flags: Flags, command: Command) => {
      const done = await callAdmin(admin(command), 'DELETE', `/v1/enrolment-keys/${encodeURIComponent(id)}`);
      say(flags, done, `Enrolment key ${id} is withdrawn.`);
    },
  );
  return key;
}
