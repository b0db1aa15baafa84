import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a service wants of the machine that it runs on. */
export interface MachineNeeds {
  /** Sockets and files open at once. Fewer is no fault, and bounds how much it can hold. */
  descriptors: number;
  /** Accepts connections from outside, in bursts, and keeps them: queues and connection tracking matter. */
  connections?: boolean;
  /** Public ports that are bound later on, both ends included. */
  ports?: readonly [number, number];
}

/** One thing that is less than it should be. */
export interface MachineFault {
  /** Name of the limit, as ulimit or sysctl call it. */
  limit: string;
  is: string;
  wanted: string;
  /** What happens otherwise, and what to set. */
  advice: string;
}

/** What a process without visitors or devices needs: its stores, its log, a scrape. */
export const FEW_DESCRIPTORS = 1024;
/** A whole machine's worth of devices, or of visitors, in one process. */
export const MANY_DESCRIPTORS = 65_536;

/** Connections wait here between the kernel and accept(); what listen() asks for is cut to it. Linux's own default since 5.4. */
const SOMAXCONN = 4096;
/** Linux's own range, 32768 to 60999, has 28,232: connections to one address and port at a time. */
const EPHEMERAL_PORTS = 28_000;
/** A device's connection is silent for four minutes at most, a visitor's for longer; a tracker that forgets sooner cuts them. */
const TRACKED_SECONDS = 3600;

/**
 * Compares the kernel's settings, as `/proc` shows them, with what a service needs. What cannot be read is not judged: other
 * systems have no `/proc`, a container may hide it, and without connection tracking there are no settings of it.
 */
export function faultsOfMachine(needs: MachineNeeds, proc = '/proc'): MachineFault[] {
  const faults = [descriptors(needs, proc)];
  if (needs.connections === true) faults.push(backlog(proc), synBacklog(proc), overflow(proc), ...conntrack(needs, proc));
  faults.push(ephemeral(proc), ports(needs, proc));
  return faults.filter((fault) => fault !== undefined);
}

function descriptors({ descriptors: wanted }: MachineNeeds, proc: string): MachineFault | undefined {
  const line = read(join(proc, 'self/limits'))
    ?.split('\n')
    .find((text) => text.startsWith('Max open files'));
  const [, soft, hard] = line?.trim().split(/\s{2,}/) ?? [];
  // Node raises the soft limit to the hard one at its start, so a lower soft one has been set on purpose or by another runtime.
  if (soft === undefined || hard === undefined || soft === 'unlimited' || Number(soft) >= wanted) return undefined;
  const advice =
    `at most about ${Number(soft)} connections at once; set LimitNOFILE=${wanted} in the systemd unit, ` +
    `--ulimit nofile=${wanted}:${wanted} of the container, or "ulimit -n ${wanted}" before the start`;
  return { limit: 'nofile', is: soft, wanted: `${wanted} or more`, advice };
}

function backlog(proc: string): MachineFault | undefined {
  const is = sysctl(proc, 'net.core.somaxconn');
  if (is === undefined || is >= SOMAXCONN) return undefined;
  return less('net.core.somaxconn', is, SOMAXCONN, 'connections are dropped when many come at once, as after an outage');
}

function synBacklog(proc: string): MachineFault | undefined {
  const is = sysctl(proc, 'net.ipv4.tcp_syncookies');
  if (is === undefined || is > 0) return undefined;
  const advice = `half-open connections of strangers keep others out; ${set('net.ipv4.tcp_syncookies', 1)}`;
  return { limit: 'net.ipv4.tcp_syncookies', is: String(is), wanted: '1', advice };
}

function overflow(proc: string): MachineFault | undefined {
  const is = sysctl(proc, 'net.ipv4.tcp_abort_on_overflow');
  if (is === undefined || is === 0) return undefined;
  const advice = `a burst of connections is reset rather than tried again; ${set('net.ipv4.tcp_abort_on_overflow', 0)}`;
  return { limit: 'net.ipv4.tcp_abort_on_overflow', is: String(is), wanted: '0', advice };
}

function conntrack({ descriptors: held }: MachineNeeds, proc: string): (MachineFault | undefined)[] {
  const name = 'net.netfilter.nf_conntrack_max';
  const most = sysctl(proc, name);
  const patience = sysctl(proc, 'net.netfilter.nf_conntrack_tcp_timeout_established');
  // Ended connections are tracked for some minutes more.
  const wanted = 2 * held;
  return [
    most === undefined || most >= wanted
      ? undefined
      : less(name, most, wanted, 'the kernel drops new connections when its table of tracked ones is full'),
    patience === undefined || patience >= TRACKED_SECONDS
      ? undefined
      : less(
          'net.netfilter.nf_conntrack_tcp_timeout_established',
          patience,
          TRACKED_SECONDS,
          'connections that are silent for so many seconds are forgotten and cut',
        ),
  ];
}

const RANGE = 'net.ipv4.ip_local_port_range';

function ephemeral(proc: string): MachineFault | undefined {
  const range = localPorts(proc);
  if (range === undefined) return undefined;
  const [first, last] = range;
  if (last - first + 1 >= EPHEMERAL_PORTS) return undefined;
  const advice = `so few connections to one server at a time; ${set(RANGE, '"32768 60999"')}`;
  return { limit: RANGE, is: `${first} ${last}`, wanted: `${EPHEMERAL_PORTS} ports or more`, advice };
}

function ports({ ports: wanted }: MachineNeeds, proc: string): MachineFault | undefined {
  const range = localPorts(proc);
  if (wanted === undefined || range === undefined) return undefined;
  const first = Math.max(wanted[0], range[0]);
  const last = Math.min(wanted[1], range[1]);
  const shared = first > last ? 0 : last - first + 1 - reserved(proc, first, last);
  if (shared === 0) return undefined;
  const name = 'net.ipv4.ip_local_reserved_ports';
  const advice =
    `${shared} of CULVERT_TCP_PORTS may be taken as the source port of any outgoing connection; ` +
    `${set(name, `${first}-${last}`)}, added to what stands there, or choose ports outside of ${range.join('-')}`;
  return { limit: name, is: read(sysctlPath(proc, name))?.trim() ?? '', wanted: `${first}-${last} in it`, advice };
}

/** How many ports of first to last are kept from outgoing connections; the kernel's list is ordered and without overlaps. */
function reserved(proc: string, first: number, last: number): number {
  const list = read(sysctlPath(proc, 'net.ipv4.ip_local_reserved_ports'))?.trim() ?? '';
  let count = 0;
  for (const part of list === '' ? [] : list.split(',')) {
    const [from = 0, to = from] = part.split('-').map(Number);
    count += Math.max(0, Math.min(last, to) - Math.max(first, from) + 1);
  }
  return count;
}

function localPorts(proc: string): [number, number] | undefined {
  const [first, last] = read(sysctlPath(proc, RANGE))?.trim().split(/\s+/).map(Number) ?? [];
  return first === undefined || last === undefined ? undefined : [first, last];
}

function less(limit: string, is: number, wanted: number, why: string): MachineFault {
  return { limit, is: String(is), wanted: `${wanted} or more`, advice: `${why}; ${set(limit, wanted)}` };
}

const set = (name: string, value: number | string): string => `set it by "sysctl -w ${name}=${value}", for good in /etc/sysctl.d`;

const sysctlPath = (proc: string, name: string): string => join(proc, 'sys', ...name.split('.'));

function sysctl(proc: string, name: string): number | undefined {
  const text = read(sysctlPath(proc, name))?.trim();
  return text === undefined || !/^-?[0-9]+$/.test(text) ? undefined : Number(text);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
