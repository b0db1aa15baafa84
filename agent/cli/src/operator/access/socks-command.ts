import { isIP } from 'node:net';
import { listenSocks } from '@culvert/agent';
import { Command } from 'commander';
import { CommandError, EXIT } from '../../exit.ts';
import { ACCESS_HELP, type AccessFlags, accessOf, commandErrorOf, withAccessOptions } from './access-options.ts';
import { printAccess } from './print-access.ts';
import { untilStopped } from './until-stopped.ts';

const HELP = `
Devices are NAME.culvert in it, their ports those that their agents declare:
  curl --socks5-hostname 127.0.0.1:1080 http://alice.culvert/
  ssh -o ProxyCommand='nc -X 5 -x 127.0.0.1:1080 %h %p' alice.culvert

All other hosts are refused. It listens on addresses of this machine alone: whoever reaches it acts with your rights.
${ACCESS_HELP}

Exit codes: 0 stopped by a signal, 1 the port cannot be opened or the token does not suffice, 2 usage, 4 the server cannot be reached.`;

/** `culvert socks`. */
export function socksCommand(): Command {
  return withAccessOptions(new Command('socks').description('a SOCKS5 proxy to all devices (for operators)'))
    .option('--listen <address>', 'where to listen, 127.0.0.1:1080 or [::1]:1080; port 0 picks a free one', '127.0.0.1:1080')
    .addHelpText('after', HELP)
    .action(async (_flags: unknown, command: Command) => {
      const flags = command.optsWithGlobals<AccessFlags & { listen: string }>();
      const faults: string[] = [];
      const at = listenAt(flags.listen, faults);
      const access = accessOf(flags, faults, 'socks', process.env);
      const json = flags.json === true;
      const stop = new AbortController();
      try {
        await access.who(stop.signal); // a proxy that can reach nothing should not look as if it could
        const server = await listenSocks(access, { ...at, onClosed: (result, to) => printAccess(result, to, json) }).catch(
          (error: Error) => {
            throw new CommandError(EXIT.failed, error.message);
          },
        );
        if (json) process.stdout.write(`${JSON.stringify({ event: 'listening', address: server.address })}\n`);
        else process.stdout.write(`SOCKS5 on ${server.address}: NAME.culvert is the device NAME\n`);
        await untilStopped();
        await server.close();
      } catch (error) {
        throw commandErrorOf(error);
      } finally {
        stop.abort();
        access.close();
      }
    });
}

function listenAt(text: string, faults: string[]): { host: string; port: number } {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3]);
  const loopback = isIP(host) === 6 ? host === '::1' : isIP(host) === 4 && host.startsWith('127.');
  if (loopback && port <= 65_535) return { host, port };
  faults.push(
    `--listen is ${JSON.stringify(text.slice(0, 64))}; expected a loopback address and a port, such as 127.0.0.1:1080 or [::1]:1080`,
  );
  return { host: '127.0.0.1', port: 0 };
}
