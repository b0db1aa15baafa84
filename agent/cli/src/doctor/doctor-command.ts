import { Command, Option } from 'commander';
import { CommandError, EXIT } from '../exit.ts';
import { type Flags, print } from '../operator/command-kit.ts';
import { adminApi, localStack } from './admin.ts';
import type { Finding } from './check.ts';
import { clockKept, limits, nodeVersion, portFree, programVersions } from './machine.ts';
import { certificate, handshake, reachable, resolves, wildcard } from './network.ts';

const ROLES = ['device', 'server', 'operator'] as const;
type Role = (typeof ROLES)[number];

interface DoctorFlags extends Flags {
  as?: Role;
  server?: string;
  domain?: string;
  caFile?: string;
}

const HELP = `
  culvert doctor --server https://HOST     on a device: can it connect from here?
  culvert doctor --as server               on a server: programs, limits, ports, DNS with its wildcard, clock, TLS
  culvert doctor                           on an operator's machine: can the admin API be used, is the system well?

It changes nothing and needs no token of a device. What it cannot look at it calls unknown, which is no fault.

Exit codes: 0 nothing failed (there may be warnings), 1 something failed, 2 usage.`;

/** `culvert doctor`. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check this machine, and say what to do')
    .addOption(new Option('--as <role>', 'what this machine is (default: device with --server, else operator)').choices(ROLES))
    .option('--server <url>', 'origin of the server that devices connect to, such as https://HOST')
    .option('--domain <name>', 'domain that devices get their names under (default: that of the stack that runs here)')
    .option('--ca-file <file>', 'certificates (PEM) to trust besides the usual ones (default: CULVERT_CA_FILE)')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(async (flags: DoctorFlags, command: Command) => {
      const { stateDir } = command.optsWithGlobals<{ stateDir?: string }>();
      const role = flags.as ?? (flags.server === undefined ? 'operator' : 'device');
      const findings = await examine(role, flags, stateDir);
      const faults = findings.filter(({ status }) => status === 'failed').length;
      if (flags.json === true) print(JSON.stringify({ role, ok: faults === 0, findings }));
      else print(wordsOf(role, findings));
      if (faults > 0) process.exitCode = EXIT.failed;
    });
}

async function examine(role: Role, flags: DoctorFlags, stateDir: string | undefined): Promise<Finding[]> {
  const stack = localStack(stateDir ?? process.env.CULVERT_STATE_DIR ?? '.culvert');
  const server = flags.server === undefined ? undefined : originOf(flags.server);
  const ca = flags.caFile ?? process.env.CULVERT_CA_FILE ?? stack?.ca ?? undefined;
  if (role === 'device') {
    if (server === undefined)
      throw new CommandError(EXIT.usage, '--server is missing; expected the origin that devices connect to');
    return [nodeVersion(), ...limits('device'), ...(await way(server, ca)), await clockKept()];
  }
  if (role === 'operator') {
    const found = [nodeVersion(), ...(await adminApi(stateDir))];
    const edge = server ?? (stack === undefined ? undefined : new URL(stack.edge));
    if (edge !== undefined) found.push(...(await way(edge, ca)));
    const domain = flags.domain ?? stack?.domain;
    if (domain !== undefined) found.push(await wildcard(domain));
    return found;
  }
  const domain = flags.domain ?? stack?.domain ?? process.env.CULVERT_DOMAIN ?? 'culvert.localhost';
  const edge = server ?? (stack === undefined ? undefined : new URL(stack.edge));
  const port = Number(process.env.CULVERT_PORT ?? (edge === undefined ? 8080 : portOf(edge)));
  const [first = 20_000, last = 20_999] = (process.env.CULVERT_TCP_PORTS ?? '').split('-').filter(Boolean).map(Number);
  const ours = stack !== undefined;
  const found = [nodeVersion(), ...(await programVersions()), ...limits('server')];
  found.push(await portFree(port, 'edge', ours));
  for (const one of new Set([first, last])) found.push(await portFree(one, 'public ports', ours));
  if (!domain.endsWith('.localhost')) found.push(await resolves(domain, 'domain'));
  found.push(await wildcard(domain), await clockKept());
  if (edge !== undefined) found.push(...(await way(edge, ca)));
  return found;
}

/** From here to the server, as a device goes it. */
async function way(server: URL, ca: string | undefined): Promise<Finding[]> {
  const host = server.hostname.replace(/^\[|\]$/g, '');
  const name = await resolves(host, 'server');
  if (name.status === 'failed') return [name];
  const tcp = await reachable(host, portOf(server));
  if (tcp.status === 'failed') return [name, tcp];
  const tls = server.protocol === 'https:' ? [await certificate(host, portOf(server), ca)] : [];
  return [name, tcp, ...tls, ...(await handshake(server, ca))];
}

const portOf = ({ port, protocol }: URL): number => (port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port));

function originOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new CommandError(EXIT.usage, `--server is ${JSON.stringify(text)}; expected such as https://HOST`);
  }
  return url;
}

function wordsOf(role: Role, findings: readonly Finding[]): string {
  const marks = { ok: 'ok     ', warning: 'WARNING', failed: 'FAILED ', unknown: '?      ' } as const;
  const width = Math.max(...findings.map(({ area, what }) => `${area}: ${what}`.length));
  const lines = findings.flatMap(({ area, what, status, detail, advice }) => {
    const line = `${marks[status]}  ${`${area}: ${what}`.padEnd(width)}  ${detail}`;
    return advice === '' ? [line] : [line, `         -> ${advice}`];
  });
  const count = (status: Finding['status']): number => findings.filter((one) => one.status === status).length;
  return `${lines.join('\n')}\n\nAs ${role === 'operator' ? 'an operator’s machine' : `a ${role}`}: ${count('failed')} failed, ${count('warning')} warnings, ${count('ok')} well.`;
}
