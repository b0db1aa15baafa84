import { faultOfDeviceName } from '@culvert/contracts';
import { Command } from 'commander';
import { CommandError, EXIT } from '../exit.ts';
import { table, when } from '../table.ts';
import { adminAddress } from './admin-address.ts';
import { callAdmin } from './admin-api.ts';

const EXITS = `
Exit codes: 0 done, 1 the server said no (its words are on standard error), 2 usage, 4 the server cannot be reached.`;

interface Usage {
  days: { day: string; total: number; to_device: number; to_visitor: number; control: number }[];
  alert: number | null;
  cap: number | null;
}
interface Visitors {
  requests: {
    at: number;
    remote: string;
    method: string;
    host: string;
    path: string;
    status: number;
    ms: number;
    bytes_out: number;
  }[];
  tcp: {
    at: number;
    remote: string;
    port: number;
    outcome: string | null;
    ms: number | null;
    to_device: number | null;
    to_visitor: number | null;
  }[];
}

/** `culvert usage` and `culvert visitors`. */
export function watchCommands(): Command[] {
  return [
    view('usage', 'what a device has moved day by day (UTC), in bytes', 'usage?days=14', (answer) => {
      const { days, alert, cap } = answer as Usage;
      const rows = days.map((each) => [each.day, each.total, each.to_device, each.to_visitor, each.control].map(String));
      const said = (limit: number | null): string => (limit === null ? 'none' : String(limit));
      return `${table(['DAY', 'TOTAL', 'TO DEVICE', 'TO VISITORS', 'CONTROL'], rows)}\nalert: ${said(alert)}   cap: ${said(cap)}`;
    }),
    view('visitors', 'the last visitors of a device, newest first', 'visitors?limit=50', (answer) => {
      const { requests, tcp } = answer as Visitors;
      const rows = [
        ...requests.map((one) => ({ ...one, what: `${one.method} ${one.path}`, how: String(one.status), bytes: one.bytes_out })),
        ...tcp.map((one) => {
          const bytes = (one.to_device ?? 0) + (one.to_visitor ?? 0);
          return { ...one, what: `tcp:${one.port}`, how: one.outcome ?? 'open', bytes };
        }),
      ].sort((a, b) => b.at - a.at);
      if (rows.length === 0) return 'nobody was there lately';
      const cells = rows.map(({ at, remote, what, how, ms, bytes }) => [
        when(at),
        remote,
        how,
        String(ms ?? '-'),
        String(bytes),
        what,
      ]);
      return table(['WHEN', 'VISITOR', 'RESULT', 'MS', 'BYTES', 'WHAT'], cells);
    }),
  ];
}

function view(command: string, description: string, path: string, words: (answer: unknown) => string): Command {
  return new Command(command)
    .argument('<name>')
    .description(description)
    .option('--json', 'print JSON')
    .addHelpText('after', EXITS)
    .action(async (name: string, flags: { json?: boolean }, self: Command) => {
      const fault = faultOfDeviceName(name);
      if (fault !== undefined) throw new CommandError(EXIT.usage, fault);
      const admin = adminAddress(self.optsWithGlobals<{ stateDir?: string }>().stateDir, process.env);
      const answer = await callAdmin(admin, 'GET', `/v1/devices/${name}/${path}`);
      process.stdout.write(`${flags.json === true ? JSON.stringify(answer) : words(answer)}\n`);
    });
}
