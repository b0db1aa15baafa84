import { createAgent } from '@culvert/agent';
import { Command } from 'commander';
import { type AgentFlags, agentOptions } from './agent-options.ts';
import { firstStart } from './first-start.ts';
import { printEvents } from './printer.ts';

const HELP = `
MAPPING is a port and, after "=", where its bytes go; without that, the same port of this machine:
  80                         http, to 127.0.0.1:80 (443: https; any other bare number: tcp)
  http:8080=127.0.0.1:3000   http, to port 3000 of this machine
  tcp:22=192.168.1.7:22      any protocol, to another machine that this one can reach
  tcp:22=[::1]:22            the same over IPv6

The token never stands on the command line: give --token-file, or set CULVERT_TOKEN. The file is read anew before every
connection. With an enrolment key the first start makes the token itself and keeps it in --token-file (default:
~/.culvert/NAME.token), which only this user can read; later starts need no key. HTTPS_PROXY, HTTP_PROXY and NO_PROXY are obeyed; --proxy goes before them, and --proxy "" means none.

The server's certificate is always verified; nothing turns that off. --pin asks for more: one of these very keys.

The agent connects again for ever, whatever the server says; SIGINT or SIGTERM stops it: running transfers may finish for
10 s, a second signal ends them.

Exit codes: 0 stopped by a signal, 1 error, 2 usage.`;

/** A second signal counts from here on: a launcher and a terminal may both deliver the first. */
const SECOND_SIGNAL_MS = 500;

/** `culvert agent`. */
export function agentCommand(): Command {
  const collect = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];
  return new Command('agent')
    .description('connect this device and offer the ports that the mappings name')
    .argument('[MAPPING...]', 'ports to offer, see below')
    .option('--server <url>', 'origin of the server, https://HOST; several are tried in turn', collect)
    .option('--name <name>', 'the name given to: culvert device add')
    .option('--token-file <file>', 'file that holds the device token')
    .option('--allow-forward <list>', 'more ports for operators alone (culvert forward), e.g. 22,5900=192.168.1.7:5900', collect)
    .option('--enroll <key>', 'enrolment key of the first start; better: --enroll-file, or CULVERT_ENROLL_KEY')
    .option('--enroll-file <file>', 'file that holds the enrolment key')
    .option('--json', 'print one event a line, as JSON')
    .option('--ca, --ca-file <file>', 'certificates (PEM) to trust besides the usual ones (default: CULVERT_CA_FILE)')
    .option('--pin <sha256/base64>', "the server's key must be this one (its SPKI); several: one of them", collect)
    .option('--proxy <url>', 'HTTP proxy, http://[user:password@]host:port')
    .option('--warm <n>', 'most warm transfers to keep, as needed and granted (default: 16; 0: none)')
    .option('--inline <n>', 'serve so many visitors on the one connection to the server, when it grants them (default: 0)')
    .option('--max-transfers <n>', 'most visitors served at once (default: 256)')
    .allowUnknownOption() // reported with all other faults
    .addHelpText('after', HELP)
    .action(async (words: string[], flags: AgentFlags) => {
      const stop = new AbortController();
      const options = agentOptions(await enrolled(flags, stop), words, process.env);
      const agent = createAgent(options);
      printEvents(agent, options.name, options.mappings, flags.json === true);
      let first = Number.NaN;
      const onSignal = (): void => {
        if (performance.now() - first > SECOND_SIGNAL_MS) agent.abort();
        if (Number.isNaN(first)) first = performance.now();
        stop.abort();
      };
      process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
      try {
        await agent.run({ signal: stop.signal });
      } finally {
        process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
      }
    });
}

/** Enrols first where there is a key for it; a signal ends that at once. */
async function enrolled(flags: AgentFlags, stop: AbortController): Promise<AgentFlags> {
  const onSignal = (): void => stop.abort();
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  try {
    return await firstStart(flags, process.env, stop.signal);
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}
