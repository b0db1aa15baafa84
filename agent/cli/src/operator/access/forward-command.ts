import { type Access, forwardStreams, type LocalServer, listenForward } from '@culvert/agent';
import { CulvertError, faultOfDeviceName } from '@culvert/contracts';
import { Command } from 'commander';
import { isSecret, SECRET_FAULT } from '../../agent/agent-options.ts';
import { CommandError, EXIT } from '../../exit.ts';
import { ACCESS_HELP, type AccessFlags, accessOf, commandErrorOf, withAccessOptions } from './access-options.ts';
import { type LocalMapping, parseLocalMapping } from './local-mapping.ts';
import { printAccess } from './print-access.ts';
import { untilStopped } from './until-stopped.ts';

const HELP = `
MAPPING is a port of this machine and a port of the device:
  8022:22           127.0.0.1:8022 here goes to port 22 of the device (its own number, as its agent declares it)
  0:22              any free port here; it is printed
  [::1]:8022:22     listens on another address of this machine; whoever reaches it acts with your rights
  -:22              standard input and output: ssh -o ProxyCommand='culvert forward NAME -:22' NAME

The device needs no public port for it, and this machine nothing but the server's address. Every connection is a new try, so
the device may come and go. SIGINT or SIGTERM stops it.
${ACCESS_HELP}

Exit codes: 0 stopped by a signal (with -: the connection has ended), 1 the server or the device said no, 2 usage,
4 the server cannot be reached, 5 the device is not connected.`;

/** `culvert forward`. */
export function forwardCommand(): Command {
  return withAccessOptions(
    new Command('forward').description('connect ports of this machine to ports of a device (for operators)'),
  )
    .argument('<name>', 'the device')
    .argument('<MAPPING...>', 'ports to connect, see below')
    .allowUnknownOption() // -:22 is a mapping
    .addHelpText('after', HELP)
    .action(async (name: string, words: string[], _flags: unknown, command: Command) => {
      const flags = command.optsWithGlobals<AccessFlags>();
      const faults: string[] = [];
      const nameFault = faultOfDeviceName(name);
      if (nameFault !== undefined) faults.push(nameFault);
      const mappings = mappingsOf(words, faults);
      const access = accessOf(flags, faults, 'forward', process.env);
      const stop = new AbortController();
      try {
        const [first] = mappings;
        if (first?.kind === 'stdio') await forwardStdio(access, name, first.port, stop.signal);
        else await forwardPorts(access, name, mappings, flags.json === true, stop.signal);
      } catch (error) {
        throw commandErrorOf(error);
      } finally {
        stop.abort();
        access.close();
      }
    });
}

function mappingsOf(words: readonly string[], faults: string[]): LocalMapping[] {
  const mappings: LocalMapping[] = [];
  for (const word of words) {
    const parsed = isSecret(word) ? SECRET_FAULT : parseLocalMapping(word);
    if (typeof parsed === 'string') faults.push(parsed);
    else mappings.push(parsed);
  }
  if (mappings.length > 1 && mappings.some(({ kind }) => kind === 'stdio'))
    faults.push('-:PORT goes alone: there is one standard input');
  return mappings;
}

/** One connection; its breaking off is the command's failure. */
async function forwardStdio(access: Access, device: string, port: number, signal: AbortSignal): Promise<void> {
  const { outcome } = await forwardStreams(access, { device, port }, process.stdin, process.stdout, signal);
  process.stdin.destroy();
  if (outcome !== 'ok' && outcome !== 'visitor_reset') {
    throw new CommandError(EXIT.failed, `the connection to ${device}, port ${port}, broke off: ${outcome}`);
  }
}

async function forwardPorts(
  access: Access,
  device: string,
  mappings: readonly LocalMapping[],
  json: boolean,
  signal: AbortSignal,
): Promise<void> {
  const servers: LocalServer[] = [];
  try {
    for (const mapping of mappings) {
      if (mapping.kind !== 'listen') continue;
      const { host, local, port } = mapping;
      const to = { device, port };
      await access.check(device, port, signal); // what can be known before the first connection
      const onClosed = (result: Parameters<typeof printAccess>[0]): void => printAccess(result, to, json);
      const server = await listenForward(access, { host, port: local, to, onClosed }).catch((error: Error) => {
        throw error instanceof CulvertError ? new CommandError(EXIT.failed, error.message) : error;
      });
      servers.push(server);
      if (json) process.stdout.write(`${JSON.stringify({ event: 'listening', address: server.address, device, port })}\n`);
      else process.stdout.write(`${server.address}  ->  ${device}, port ${port}\n`);
    }
    await untilStopped();
  } finally {
    await Promise.all(servers.map((server) => server.close()));
  }
}
