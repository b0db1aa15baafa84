import { Command } from 'commander';
import { table, when } from '../table.ts';
import { callAdmin } from './admin-api.ts';
import { admin, EXITS, type Flags, say, wholeNumber } from './command-kit.ts';

interface Entry {
  time: number;
  operator: string;
  action: string;
  object: string;
  from: string;
  outcome: string;
}

interface AuditFlags extends Flags {
  operator?: string;
  action?: string;
  object?: string;
  limit: string;
}

/** `culvert audit`. */
export function auditCommand(): Command {
  return new Command('audit')
    .description('who did what to which device, from where; newest first (for admins)')
    .option('--operator <name>', 'only what they did')
    .option('--action <action>', 'only this, such as device.revoke')
    .option('--object <name>', 'only what was done to it')
    .option('--limit <n>', 'at most so many entries', '50')
    .option('--json', 'print JSON')
    .addHelpText('after', EXITS)
    .action(async (flags: AuditFlags, command: Command) => {
      const address = admin(command);
      const wanted = wholeNumber(flags.limit, '--limit');
      const filter = Object.entries({ operator: flags.operator, action: flags.action, object: flags.object }).flatMap(
        ([name, value]) => (value === undefined ? [] : [`&${name}=${encodeURIComponent(value)}`]),
      );
      const entries: Entry[] = [];
      let cursor: number | null = null;
      do {
        const after: string = cursor === null ? '' : `&cursor=${cursor}`;
        const limit = Math.min(1_000, wanted - entries.length);
        const path = `/v1/audit?limit=${limit}${filter.join('')}${after}`;
        const page = (await callAdmin(address, 'GET', path)) as { entries: Entry[]; cursor: number | null };
        entries.push(...page.entries);
        cursor = page.cursor;
      } while (cursor !== null && entries.length < wanted);
      const rows = entries.map((one) => [when(one.time), one.operator, one.action, one.object || '-', one.from, one.outcome]);
      say(flags, entries, table(['TIME', 'OPERATOR', 'ACTION', 'OBJECT', 'FROM', 'OUTCOME'], rows));
    });
}
