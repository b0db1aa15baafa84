import { Command } from 'commander';
import { table, when } from '../table.ts';
import { callAdmin } from './admin-api.ts';
import { admin, type Flags, say, subcommand } from './command-kit.ts';

interface Instance {
  id: string;
  service: string;
  state: string;
  started_at: number | null;
  devices: number | null;
  load: { cpu: number; memory: number; counts: Record<string, number> } | null;
  ports: { first: number; last: number; leased: number; free: number | null; cooling: number | null } | null;
}

const portsText = (ports: Instance['ports']): string => {
  if (ports === null) return '-';
  const cooling = ports.cooling === null || ports.cooling === 0 ? '' : `, ${ports.cooling} cooling`;
  return `${ports.leased} of ${ports.last - ports.first + 1}${cooling}`;
};

/** `culvert instance list|wind-down`. */
export function instanceCommands(): Command {
  const instance = new Command('instance').description('the running processes of the system (for operators)');
  subcommand(instance, 'list', 'every process: its state, its load, and how many ports are taken').action(
    async (flags: Flags, command: Command) => {
      const { instances } = (await callAdmin(admin(command), 'GET', '/v1/instances')) as { instances: Instance[] };
      const rows = instances.map(({ id, state, started_at, devices, load, ports }) => [
        ...[id, state, when(started_at), devices === null ? '-' : String(devices)],
        ...(load === null ? ['-', '-'] : [`${Math.round(load.cpu * 100)} %`, `${Math.round(load.memory / 1024 ** 2)} MiB`]),
        portsText(ports),
        Object.entries(load?.counts ?? {})
          .map(([name, value]) => `${name} ${value}`)
          .join(', ') || '-',
      ]);
      say(flags, instances, table(['ID', 'STATE', 'SINCE', 'DEVICES', 'CPU', 'MEMORY', 'PORTS', 'HOLDS'], rows));
    },
  );
  subcommand(instance, 'wind-down <id>', 'let it take no new work, finish the old, and end').action(
    async (id: string, flags: Flags, command: Command) => {
      const answer = await callAdmin(admin(command), 'POST', `/v1/instances/${encodeURIComponent(id)}/wind-down`);
      say(flags, answer, `${id} winds down.`);
    },
  );
  return instance;
}
