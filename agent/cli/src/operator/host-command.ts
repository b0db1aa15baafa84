import type { Command } from 'commander';
import { CommandError, EXIT } from '../exit.ts';
import { table } from '../table.ts';
import { callAdmin } from './admin-api.ts';
import { admin, devicePath, type Flags, say, subcommand, wholeNumber } from './command-kit.ts';

const HELP = `
HOST is one label under the domain, such as shop. It is the endpoint's for ever, also when its lease has expired, until
"--give-back". A connected device has it at once, and its former name leads nowhere.
  culvert device host alice 80 shop`;

/** Adds `host` to `culvert device`. */
export function hostCommand(device: Command): void {
  subcommand(device, 'host <name> [port] [host]', 'reserve a host name for a port of a device, or print what is reserved')
    .option('--give-back', 'the name of this port is free when the present lease has expired')
    .addHelpText('after', HELP)
    .action(
      async (
        name: string,
        port: string | undefined,
        host: string | undefined,
        flags: Flags & { giveBack?: boolean },
        command: Command,
      ) => {
        const address = admin(command);
        if (port === undefined) {
          const { hosts } = (await callAdmin(address, 'GET', devicePath(name, '/hosts'))) as {
            hosts: { port: number; label: string }[];
          };
          const rows = hosts.map((one) => [String(one.port), one.label]);
          say(flags, hosts, rows.length === 0 ? `no host name is reserved for ${name}` : table(['PORT', 'HOST'], rows));
          return;
        }
        const path = devicePath(name, `/endpoints/${wholeNumber(port, 'PORT')}/host`);
        if (flags.giveBack === true) {
          await callAdmin(address, 'DELETE', path);
          say(flags, {}, `port ${port} of ${name} has no reserved name any more.`);
          return;
        }
        if (host === undefined)
          throw new CommandError(EXIT.usage, 'HOST is missing; expected one label such as shop, or --give-back');
        const done = (await callAdmin(address, 'PUT', path, { host })) as { host: string; renamed: boolean };
        say(
          flags,
          done,
          `${done.host} is reserved${done.renamed ? ', and leads to the device now.' : ' for when the device connects.'}`,
        );
      },
    );
}
