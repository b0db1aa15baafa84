import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { table, when } from '../table.ts';
import { callAdmin } from './admin-api.ts';
import { admin, checkedName, type Flags, say, subcommand } from './command-kit.ts';

interface OperatorView {
  name: string;
  role: string;
  created_at: number;
  created_by: string;
}

/** `culvert operator add|list|rotate|remove`. */
export function operatorCommands(): Command {
  const operator = new Command('operator').description('who may use the admin API, and with which role (for admins)');
  const path = (name: string, rest = ''): string => `/v1/operators/${encodeURIComponent(checkedName(name))}${rest}`;

  subcommand(operator, 'add <name>', 'add an operator and print their token, which is shown this once only')
    .option('--role <role>', 'viewer, operator or admin', 'viewer')
    .action(async (name: string, flags: Flags & { role: string }, command: Command) => {
      const made = (await callAdmin(admin(command), 'POST', '/v1/operators', { name: checkedName(name), role: flags.role })) as {
        token: string;
      };
      say(flags, made, `${name} is ${flags.role}. Their token, shown this once only:\n${made.token}`);
    });
  subcommand(operator, 'list', 'all operators').action(async (flags: Flags, command: Command) => {
    const { operators } = (await callAdmin(admin(command), 'GET', '/v1/operators')) as { operators: OperatorView[] };
    const rows = operators.map((one) => [one.name, one.role, when(one.created_at), one.created_by]);
    say(flags, operators, table(['NAME', 'ROLE', 'SINCE', 'BY'], rows));
  });
  subcommand(operator, 'rotate <name>', 'give an operator a new token; the former ones are dead at once').action(
    async (name: string, flags: Flags, command: Command) => {
      const made = (await callAdmin(admin(command), 'POST', path(name, '/token'))) as { token: string };
      say(flags, made, `The new token of ${name}, shown this once only:\n${made.token}`);
    },
  );
  subcommand(operator, 'password', 'set your own password, read from standard input, to log in to the dashboard')
    .option('--none', 'have none any more')
    .action(async (flags: Flags & { none?: boolean }, command: Command) => {
      const own = '/v1/login/password';
      if (flags.none === true) return say(flags, await callAdmin(admin(command), 'DELETE', own), 'You have no password.');
      const password = (await text(process.stdin)).split(/\r?\n/, 1)[0] ?? '';
      const answer = await callAdmin(admin(command), 'PUT', own, { password });
      say(flags, answer, 'Your password is set; logins by a former one are over.');
    });
  subcommand(operator, 'remove <name>', 'remove an operator; what they have running ends').action(
    async (name: string, flags: Flags, command: Command) => {
      say(flags, await callAdmin(admin(command), 'DELETE', path(name)), `${name} is removed.`);
    },
  );
  return operator;
}
