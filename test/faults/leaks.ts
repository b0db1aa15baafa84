import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Redis } from 'ioredis';
import type { StackInfo } from '../harness/system.ts';

/** What one process holds while no visitor is there. */
export interface Holding {
  id: string;
  pid: number;
  /** Sockets beyond those that its metrics explain. */
  sockets: number;
  memoryMb: number;
  /** Gauges that must be 0 now and are not. */
  left: string[];
}

export interface Rest {
  holdings: Holding[];
  /** Public ports that the store says are held. */
  heldPorts: number;
  controls: number;
  openPorts: number;
}

/** Of these nothing may stay. */
const MUST_BE_ZERO = [
  'culvert_visitors_open',
  'culvert_visitors_waiting',
  'culvert_dials_pending',
  'culvert_handshakes_pending',
  'culvert_releases_waiting',
];
/** Each of these is one socket. */
const EXPLAINED = ['culvert_control_sockets', 'culvert_public_ports_open', 'culvert_transfers_open'];

/** Sockets of pools and keep-alive that come and go. */
const SOCKETS_SLACK = 6;
const MEMORY_SLACK_MB = 96;

export function socketsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
      } catch {
        return false; // closed meanwhile
      }
    }).length;
  } catch {
    return 0;
  }
}

const memoryMbOf = (pid: number): number => {
  const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Math.round(Number(match?.[1] ?? 0) / 1024);
};

async function gaugesOf(health: string): Promise<Map<string, number>> {
  const answer = await fetch(health.replace('/healthz', '/metrics'), {
    signal: AbortSignal.timeout(5_000),
    headers: { connection: 'close' },
  });
  const gauges = new Map<string, number>();
  for (const line of (await answer.text()).split('\n')) {
    const match = /^(\w+)(?:\{.*\})? ([0-9.e+-]+)$/.exec(line);
    if (match?.[1] !== undefined) gauges.set(match[1], (gauges.get(match[1]) ?? 0) + Number(match[2]));
  }
  return gauges;
}

export async function measure(info: StackInfo, redis: Redis): Promise<Rest> {
  const rest: Rest = { holdings: [], heldPorts: 0, controls: 0, openPorts: 0 };
  for (const { name, id, pid, health } of info.services) {
    if (name === 'admin') continue;
    const gauges = await gaugesOf(health);
    const of = (gauge: string): number => gauges.get(gauge) ?? 0;
    const explained = EXPLAINED.reduce((sum, gauge) => sum + of(gauge), 0);
    rest.controls += of('culvert_control_connections');
    rest.openPorts += of('culvert_public_ports_open');
    const left = MUST_BE_ZERO.filter((gauge) => of(gauge) > 0).map((gauge) => `${gauge} of ${id} is ${of(gauge)}`);
    rest.holdings.push({ id, pid, sockets: socketsOf(pid) - explained, memoryMb: memoryMbOf(pid), left });
    if (name === 'tcp-listener') rest.heldPorts += await redis.hlen(`ports:${id}:held`);
  }
  return rest;
}

/** What is more than it was at `base`, or should not be at all. */
export function leaksBetween(base: Rest, now: Rest, expected: { devices: number; endpoints: number }): string[] {
  const leaks = now.holdings.flatMap(({ left }) => left);
  for (const { id, sockets, memoryMb } of now.holdings) {
    const before = base.holdings.find((holding) => holding.id === id);
    if (before === undefined) continue;
    if (sockets > before.sockets + SOCKETS_SLACK)
      leaks.push(`${id} has ${sockets} unexplained sockets, ${before.sockets} before`);
    if (memoryMb > before.memoryMb + MEMORY_SLACK_MB) leaks.push(`${id} has ${memoryMb} MB, ${before.memoryMb} before`);
  }
  if (now.controls !== expected.devices) leaks.push(`${now.controls} control connections for ${expected.devices} devices`);
  if (now.heldPorts !== expected.endpoints) leaks.push(`${now.heldPorts} ports held for ${expected.endpoints} endpoints`);
  if (now.openPorts !== expected.endpoints) leaks.push(`${now.openPorts} ports open for ${expected.endpoints} endpoints`);
  return leaks;
}
