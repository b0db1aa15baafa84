import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { CommandError, EXIT, textOf } from '../exit.ts';
import { when } from '../table.ts';
import type { AdminAddress } from './admin-address.ts';
import { trust } from './admin-api.ts';
import { admin, checkedName, type Flags, print } from './command-kit.ts';
import { type ServerSentEvent, serverSentEvents } from './server-sent-events.ts';

interface EventFlags extends Flags {
  device?: string;
  visitors?: boolean;
  since?: string;
  count?: string;
}

/** The server says something every 15 s. */
const SILENT_MS = 45_000;
const AGAIN_MS = 1_000;
const MOST_AGAIN_MS = 30_000;

/** `culvert events`. */
export function eventsCommand(): Command {
  return new Command('events')
    .description('what happens now, one line an event, until it is stopped; it resumes after an interruption without a gap')
    .option('--device <name>', 'only what is about this one')
    .option('--visitors', 'also transfers and requests of visitors, which may be many')
    .option('--since <id>', 'begin after this event: the id of a line of --json')
    .option('--count <n>', 'end after so many events')
    .option('--json', 'print one JSON object a line: {id, type, data}; id is null for what cannot be resumed from')
    .addHelpText(
      'after',
      `
Exit codes: 0 stopped, or --count reached; 1 the server said no; 2 usage; 4 the server cannot be reached at the start.`,
    )
    .action(async (flags: EventFlags, command: Command) => {
      const most = flags.count === undefined ? Number.POSITIVE_INFINITY : Number(flags.count);
      if (!(most >= 1)) throw new CommandError(EXIT.usage, `--count is ${flags.count}; expected a whole number from 1 on`);
      const device = flags.device === undefined ? '' : `&device=${checkedName(flags.device)}`;
      const path = `/v1/events?visitors=${flags.visitors === true}${device}`;
      const address = admin(command);
      let lastId = flags.since;
      let shown = 0;
      for (let waitMs = 0, begun = false; ; waitMs = Math.min(MOST_AGAIN_MS, Math.max(AGAIN_MS, waitMs * 2))) {
        await delay(waitMs);
        try {
          for await (const event of follow(address, path, lastId)) {
            begun = true;
            waitMs = 0;
            lastId = event.lastId ?? lastId;
            if (event.data === '') continue; // it says an id only
            print(flags.json === true ? jsonOf(event) : lineOf(event));
            shown += 1;
            if (shown >= most) return;
          }
        } catch (error) {
          if (error instanceof CommandError && (error.exitCode !== EXIT.unreachable || !begun)) throw error;
          process.stderr.write(`interrupted: ${textOf(error)}; trying again\n`);
        }
      }
    });
}

async function* follow(address: AdminAddress, path: string, lastId: string | undefined): AsyncGenerator<ServerSentEvent> {
  trust(address.caFile);
  const stop = new AbortController();
  const silence = setTimeout(() => stop.abort(new Error('the server is silent')), SILENT_MS);
  try {
    const headers = { authorization: `Bearer ${address.token}`, ...(lastId === undefined ? {} : { 'last-event-id': lastId }) };
    const unreachable = (cause: unknown): never => {
      throw new CommandError(EXIT.unreachable, `cannot reach the admin API at ${address.url}: ${textOf(cause)}`, { cause });
    };
    const answer = await fetch(`${address.url}${path}`, { headers, redirect: 'error', signal: stop.signal }).catch(unreachable);
    if (answer.status >= 500)
      throw new CommandError(EXIT.unreachable, `the admin API at ${address.url} answered ${answer.status}`);
    if (!answer.ok || answer.body === null) {
      const { detail } = (await answer.json().catch(() => ({}))) as { detail?: string };
      throw new CommandError(EXIT.failed, detail ?? `the admin API at ${address.url} answered ${answer.status}`);
    }
    yield* serverSentEvents(answer.body.pipeThrough(new TextDecoderStream()), () => silence.refresh());
  } finally {
    clearTimeout(silence);
    stop.abort();
  }
}

function jsonOf({ id, type, data }: ServerSentEvent): string {
  return `{"id":${JSON.stringify(id)},"type":${JSON.stringify(type)},"data":${data}}`;
}

interface Told {
  subject?: string;
  time?: string;
  data?: Record<string, unknown>;
}

/** `2026-01-31 13:05:59Z   device.connected   alice   reason=resumed epoch=…`: what is short of it. */
function lineOf({ type, data }: ServerSentEvent): string {
  const told = JSON.parse(data) as Told & Record<string, unknown>;
  const facts = type === 'visitor.request' || told.data === undefined ? told : told.data;
  const short = Object.entries(facts).flatMap(([name, value]) => {
    const shown = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
    return shown && !['seq', 'boot', 'at', 'device', 'id'].includes(name) ? [`${name}=${value}`] : [];
  });
  const subject = told.subject ?? String(told.device ?? '-');
  return [when(told.time ?? told.at), type, subject, short.join(' ')].join('   ').trimEnd();
}
