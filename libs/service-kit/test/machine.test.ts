import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { faultsOfMachine, type MachineNeeds } from '../src/index.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

const GOOD: Readonly<Record<string, string>> = {
  'net.core.somaxconn': '4096\n',
  'net.ipv4.tcp_syncookies': '1\n',
  'net.ipv4.tcp_abort_on_overflow': '0\n',
  'net.netfilter.nf_conntrack_max': '262144\n',
  'net.netfilter.nf_conntrack_tcp_timeout_established': '432000\n',
  'net.ipv4.ip_local_port_range': '32768\t60999\n',
  'net.ipv4.ip_local_reserved_ports': '\n',
};

/** A folder that looks like /proc on a machine that is well set, but for what is given. */
function procWith(changed: Record<string, string> = {}, openFiles = '65536                524288'): string {
  const proc = mkdtempSync(join(tmpdir(), 'culvert-proc-'));
  folders.push(proc);
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(proc, path)), { recursive: true });
    writeFileSync(join(proc, path), text);
  };
  for (const [name, text] of Object.entries({ ...GOOD, ...changed })) write(join('sys', ...name.split('.')), text);
  write(
    'self/limits',
    `Limit                     Soft Limit           Hard Limit           Units\nMax open files            ${openFiles}               files\n`,
  );
  return proc;
}

const MUCH: MachineNeeds = { descriptors: 65_536, connections: true, ports: [20_000, 20_999] };

describe('the limits of the machine', () => {
  it('raise no warning where they are large enough', () => {
    expect(faultsOfMachine(MUCH, procWith())).toEqual([]);
    expect(faultsOfMachine(MUCH, procWith({}, 'unlimited            unlimited'))).toEqual([]);
  });

  it('are not judged where they cannot be read', () => {
    expect(faultsOfMachine(MUCH, join(tmpdir(), 'culvert-no-such-folder'))).toEqual([]);
  });

  it.each([
    ['net.core.somaxconn', '128', 'sysctl -w net.core.somaxconn=4096'],
    ['net.ipv4.tcp_syncookies', '0', 'sysctl -w net.ipv4.tcp_syncookies=1'],
    ['net.ipv4.tcp_abort_on_overflow', '1', 'sysctl -w net.ipv4.tcp_abort_on_overflow=0'],
    ['net.netfilter.nf_conntrack_max', '65536', 'sysctl -w net.netfilter.nf_conntrack_max=131072'],
    ['net.netfilter.nf_conntrack_tcp_timeout_established', '300', 'nf_conntrack_tcp_timeout_established=3600'],
    ['net.ipv4.ip_local_port_range', '50000\t60999', 'sysctl -w net.ipv4.ip_local_port_range="32768 60999"'],
  ])('name %s when it is %s, and what to set', (limit, text, advice) => {
    const faults = faultsOfMachine(MUCH, procWith({ [limit]: `${text}\n` }));
    expect(faults).toEqual([
      expect.objectContaining({ limit, is: text.replace('\t', ' '), advice: expect.stringContaining(advice) }),
    ]);
  });

  it('name the open files and every way to allow more', () => {
    const [fault, ...others] = faultsOfMachine(MUCH, procWith({}, '1024                 4096'));
    expect(others).toEqual([]);
    expect(fault).toMatchObject({ limit: 'nofile', is: '1024', wanted: '65536 or more' });
    for (const way of ['LimitNOFILE=65536', '--ulimit nofile=65536:65536', 'ulimit -n 65536'])
      expect(fault?.advice).toContain(way);
    expect(faultsOfMachine({ descriptors: 1024 }, procWith({}, '1024                 4096'))).toEqual([]);
  });

  it('matter for queues and tracking only to who accepts connections', () => {
    const proc = procWith({ 'net.core.somaxconn': '128', 'net.netfilter.nf_conntrack_max': '1024' });
    expect(faultsOfMachine({ descriptors: 1024 }, proc)).toEqual([]);
  });

  it('name public ports that outgoing connections may take, but for reserved ones', () => {
    const needs: MachineNeeds = { ...MUCH, ports: [32_000, 33_767] };
    const [fault, ...others] = faultsOfMachine(needs, procWith());
    expect(others).toEqual([]);
    expect(fault?.limit).toBe('net.ipv4.ip_local_reserved_ports');
    expect(fault?.advice).toContain('1000 of CULVERT_TCP_PORTS');
    expect(fault?.advice).toContain('ip_local_reserved_ports=32768-33767');
    const reserved = (text: string) => procWith({ 'net.ipv4.ip_local_reserved_ports': text });
    expect(faultsOfMachine(needs, reserved('8080,32768-33767\n'))).toEqual([]);
    expect(faultsOfMachine(needs, reserved('32768-33000,33002-40000\n'))[0]?.advice).toMatch(/^1 of/);
  });

  it('are told by a real service at its start, which goes on', async () => {
    const main = fileURLToPath(new URL('../../../services/ws-ingress/src/main.ts', import.meta.url));
    // Nobody listens at these addresses: the warning must not wait for the stores.
    const settings = 'CULVERT_INSTANCE_ID=ws-ingress-1 CULVERT_REDIS_URL=redis://127.0.0.1:1 CULVERT_NATS_URL=nats://127.0.0.1:1';
    const child = spawn('sh', ['-c', `ulimit -n 512 && exec env ${settings} "$0" "$1"`, process.execPath, main], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const told = await new Promise<string>((resolve, reject) => {
        let text = '';
        child.stdout.on('data', (chunk: Buffer) => {
          text += chunk.toString();
          const line = text.split('\n').find((one) => one.includes('"nofile"') && one.endsWith('}'));
          if (line !== undefined) resolve(line);
        });
        child.once('exit', (code) => reject(new Error(`it ended with ${code}:\n${text}`)));
      });
      const { event, is, wanted, msg, service } = JSON.parse(told) as Record<string, string>;
      expect({ event, is, wanted, service }).toEqual({
        ...{ event: 'machine.limit', service: 'ws-ingress' },
        ...{ is: '512', wanted: '65536 or more' },
      });
      expect(msg).toContain('LimitNOFILE=65536');
    } finally {
      child.kill('SIGKILL');
    }
  });
});
