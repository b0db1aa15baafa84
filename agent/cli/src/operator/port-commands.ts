import { Command } from 'commander';
import { table } from '../table.ts';
import { callAdmin } from './admin-api.ts';
import { admin, allPages, type Flags, say, subcommand } from './command-kit.ts';

interface Port {
  public_port: number;
  listener: string;
  device: string;
  state: string;
  scheme: string;
  port: number;
}
interface Listener {
  listener: string;
  first: number;
  last: number;
  held: number;
  free: number;
  cooling: number;
}

/** `culvert port list|fill`. */
export function portCommands(): Command {
  const port = new Command('port').description('public ports: whose they are, and how many are left (for operators)');
  subcommand(port, 'list', 'every public port that a device has')
    .option('--listener <id>', 'of this listener')
    .option('--port <n>', 'this one alone')
    .action(async (flags: Flags & { listener?: string; port?: string }, command: Command) => {
      const query = new URLSearchParams();
      if (flags.listener !== undefined) query.set('listener', flags.listener);
      if (flags.port !== undefined) query.set('port', flags.port);
      const path = `/v1/ports${query.size === 0 ? '' : `?${query}`}`;
      const ports = await allPages<Port>(admin(command), path, 'ports');
      const rows = ports.map((one) => [
        ...[String(one.public_port), one.listener, one.device, one.state, `${one.scheme}:${one.port}`],
      ]);
      say(flags, ports, table(['PORT', 'LISTENER', 'DEVICE', 'STATE', 'ENDPOINT'], rows));
    });
  subcommand(port, 'fill', 'how many ports of each listener are held, free, and cooling down').action(
    async (flags: Flags, command: Command) => {
      const { listeners } = (await callAdmin(admin(command), 'GET', '/v1/listeners')) as { listeners: Listener[] };
      const rows = listeners.map(({ listener, first, last, held, free, cooling }) => [
        ...[listener, `${first}-${last}`, String(held), String(free), String(cooling)],
      ]);
      say(flags, listeners, table(['LISTENER', 'PORTS', 'HELD', 'FREE', 'COOLING'], rows));
    },
  );
  return port;
}
