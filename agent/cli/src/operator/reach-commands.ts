import { parseDuration } from '@culvert/contracts';
import { Command } from 'commander';
import { CommandError, EXIT } from '../exit.ts';
import { table } from '../table.ts';
import { callAdmin } from './admin-api.ts';
import { admin, devicePath } from './command-kit.ts';
import { deviceOf, stateOf } from './device.ts';

interface Step {
  step: string;
  status: string;
  ms: number | null;
  code: string;
  detail: string;
}
interface Trace {
  device: string;
  ok: boolean;
  ms: number;
  failure: Step | null;
  steps: Step[];
  endpoints: { port: number; scheme: string; address: string; ok: boolean; failure: Step | null; steps: Step[] }[];
}

/** `culvert trace` and `culvert wait`. */
export function reachCommands(): Command[] {
  const trace = new Command('trace')
    .argument('<name>')
    .description('why can I not reach it? follows the way of a visitor to each endpoint of a device')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
The device is really dialled: its local targets see a connection that is opened and closed.
Exit codes: 0 every endpoint can be reached, 1 the server said no, 2 usage, 4 the server cannot be reached, 5 an endpoint cannot be reached.`,
    )
    .action(async (name: string, flags: { json?: boolean }, self: Command) => {
      const found = (await callAdmin(admin(self), 'GET', `${devicePath(name)}/trace`)) as Trace;
      process.stdout.write(`${flags.json === true ? JSON.stringify(found) : wordsOf(found)}\n`);
      if (!found.ok) process.exitCode = EXIT.offline;
    });
  const wait = new Command('wait')
    .argument('<name>')
    .description('wait until a device is connected, or is not')
    .option('--for <state>', 'online: it is connected; offline: it is not', 'online')
    .option('--timeout <duration>', 'such as 30s or 5m, at most 10m', '60s')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Exit codes: 0 it is so, 1 the server said no, 2 usage, 4 the server cannot be reached, 5 it was not so in time.`,
    )
    .action(async (name: string, flags: { for: string; timeout: string; json?: boolean }, self: Command) => {
      const ms = parseDuration(flags.timeout);
      if (ms === undefined) throw new CommandError(EXIT.usage, `--timeout is ${flags.timeout}; expected such as 30s or 5m`);
      if (flags.for !== 'online' && flags.for !== 'offline') {
        throw new CommandError(EXIT.usage, `--for is ${flags.for}; expected online or offline`);
      }
      const path = `${devicePath(name)}/wait?for=${flags.for}&timeout=${ms}ms`;
      const answer = (await callAdmin(admin(self), 'POST', path, undefined, ms)) as { reached: boolean; device: unknown };
      const device = deviceOf(answer.device);
      const late = answer.reached ? '' : ` after ${flags.timeout}`;
      process.stdout.write(`${flags.json === true ? JSON.stringify(answer) : `${device.name} is ${stateOf(device)}${late}`}\n`);
      if (!answer.reached) process.exitCode = EXIT.offline;
    });
  return [trace, wait];
}

function wordsOf({ device, ok, ms, failure, endpoints, steps }: Trace): string {
  const parts = endpoints.map((one) => `${one.scheme}:${one.port}   ${one.address}\n${stepsOf(one.steps)}`);
  if (parts.length === 0) parts.push(stepsOf(steps));
  const verdict = ok
    ? `${device} can be reached (${ms} ms).`
    : `${device} cannot be reached: ${failure?.step}: ${failure?.detail} (${failure?.code})`;
  return `${parts.join('\n\n')}\n\n${verdict}`;
}

function stepsOf(steps: readonly Step[]): string {
  const marks: Readonly<Record<string, string>> = { ok: 'ok', failed: 'FAILED', skipped: '-' };
  return table(
    ['STEP', 'RESULT', 'MS', 'WHAT'],
    // What was skipped says nothing but that something before it failed.
    steps.map((one) => [
      one.step,
      marks[one.status] ?? one.status,
      String(one.ms ?? '-'),
      one.status === 'skipped' ? '' : one.detail,
    ]),
  );
}
