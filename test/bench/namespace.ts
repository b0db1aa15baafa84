import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';

/** Where groups of processes that share the cores are made (cgroup v1). */
const CPU_GROUPS = '/sys/fs/cgroup/cpu';
const GROUP = 'culvert-bench-';

const MARK = 'CULVERT_BENCH_NAMESPACE';
const SETUP = [
  'ip link set lo up',
  'cd /proc/sys/net/ipv4',
  'echo reno > tcp_congestion_control',
  'echo 40000 65535 > ip_local_port_range',
  'echo 4096 > tcp_max_tw_buckets',
  'cd "$OLDPWD"',
  'exec "$0" "$@"',
].join(' && ');

export const congestionControl = (): string => {
  try {
    return readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'latin1').trim();
  } catch {
    return 'unknown';
  }
};

/**
 * Runs this very program again in a network namespace of its own, with reno as congestion control: BBR, which some systems
 * choose, halves every figure on loopback; ports do not run out, and nobody else's are in the way. Needs root; without, all stays as it is.
 */
export function enterNamespace(): void {
  if (process.env[MARK] !== undefined || process.getuid?.() !== 0) return;
  const probe = spawnSync('unshare', ['-n', 'sh', '-c', SETUP, 'true']);
  if (probe.status !== 0) return;
  const group = oneGroup();
  const args = ['-n', 'sh', '-c', SETUP, process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const { status } = spawnSync('unshare', args, { stdio: 'inherit', env: { ...process.env, [MARK]: '1' } });
  if (group !== undefined) leave(group);
  process.exit(status ?? 1);
}

/**
 * Puts this process, and so all that it starts, into one group for the scheduler. In no group, Linux gives each session one of
 * its own and shares the cores among those (autogroup): services, which lead sessions, then switch context for nearly every
 * request, plain processes of the benchmark for every seventh, and the same work costs them half as much again.
 */
function oneGroup(): string | undefined {
  if (!existsSync(CPU_GROUPS) || !/:cpu:\/$/m.test(readFileSync('/proc/self/cgroup', 'latin1'))) return undefined;
  const group = `${CPU_GROUPS}/${GROUP}${process.pid}`;
  removeEmpty();
  try {
    mkdirSync(group);
    writeFileSync(`${group}/cgroup.procs`, String(process.pid));
    return group;
  } catch {
    return undefined; // not ours to make, as in a container
  }
}

function leave(group: string): void {
  writeFileSync(`${CPU_GROUPS}/cgroup.procs`, String(process.pid));
  // What the run started may take a moment to end. A group that somebody is left in goes when the next run begins.
  for (let attempt = 0; attempt < 20 && existsSync(group); attempt += 1) {
    removeEmpty();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
}

function removeEmpty(): void {
  for (const name of readdirSync(CPU_GROUPS)) {
    if (!name.startsWith(GROUP)) continue;
    try {
      rmdirSync(`${CPU_GROUPS}/${name}`);
    } catch {
      // in use, or gone by now
    }
  }
}
