import { existsSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';

/** What the configuration has to know about the machine that nginx will run on. */
export interface Machine {
  /** Started by root: workers need a user of their own. */
  root: boolean;
  /** `user group` of the workers. */
  workerUser(wanted: string | undefined): string;
  ipv6: boolean;
  /** Most open files a worker may ask for. */
  openFiles: number;
  nameservers: string[];
}

const readLines = (path: string): string[] => (existsSync(path) ? readFileSync(path, 'utf8').split('\n') : []);

function workerUser(wanted: string | undefined): string {
  const users = readLines('/etc/passwd').map((line) => line.split(':'));
  const candidates = wanted === undefined ? ['www-data', 'nobody'] : [wanted];
  for (const name of candidates) {
    const gid = users.find((user) => user[0] === name)?.[3];
    const group = readLines('/etc/group').find((line) => line.split(':')[2] === gid);
    if (gid !== undefined && group !== undefined) return `${name} ${group.split(':')[0]}`;
  }
  throw new Error(`no user ${candidates.join(' or ')} on this machine for nginx's workers; set user`);
}

function openFiles(): number {
  const line = readLines('/proc/self/limits').find((text) => text.startsWith('Max open files'));
  const hard = line?.trim().split(/\s{2,}/)[2];
  return hard === undefined || hard === 'unlimited' ? 65_536 : Number(hard);
}

function nameservers(): string[] {
  return readLines('/etc/resolv.conf')
    .map((line) => /^nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
    .filter((address) => isIP(address) !== 0)
    .map((address) => (isIP(address) === 6 ? `[${address}]` : address));
}

export function thisMachine(): Machine {
  return {
    root: process.getuid?.() === 0,
    workerUser,
    // The file lists interfaces with an IPv6 address; without IPv6 it is absent or empty.
    ipv6: readLines('/proc/net/if_inet6').some((line) => line !== ''),
    openFiles: openFiles(),
    nameservers: nameservers(),
  };
}
