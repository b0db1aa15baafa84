import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

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
  const args = ['-n', 'sh', '-c', SETUP, process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const { status } = spawnSync('unshare', args, { stdio: 'inherit', env: { ...process.env, [MARK]: '1' } });
  process.exit(status ?? 1);
}
