import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from '../../harness/servers.ts';
import { childPids, waitForPort } from '../processes.ts';
import type { Driver } from './driver.ts';

const run = promisify(execFile);
const SSHD = '/usr/sbin/sshd';

/** OpenSSH `-R`: its own sshd on a free port with keys of its own. */
export const ssh: Driver = {
  name: 'OpenSSH -R',
  unavailable: async () => {
    try {
      await run(SSHD, ['-t', '-f', '/dev/null', '-h', '/dev/null']).catch((error: { code?: unknown }) => {
        if (error.code === 'ENOENT') throw error;
      });
      return process.getuid?.() === 0 ? undefined : 'needs root to run an sshd of its own';
    } catch {
      return 'openssh-server is not installed';
    }
  },
  start: async (originPort) => {
    const dir = await mkdtemp(join(tmpdir(), 'culvert-bench-ssh-'));
    for (const key of ['host', 'user']) await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(dir, key)]);
    const port = await freePort();
    const remote = await freePort();
    await writeFile(
      join(dir, 'sshd_config'),
      [
        `Port ${port}`,
        'ListenAddress 127.0.0.1',
        `HostKey ${dir}/host`,
        `AuthorizedKeysFile ${dir}/user.pub`,
        'StrictModes no',
        'PidFile none',
        'UsePAM no',
        'PermitRootLogin yes',
        'AllowTcpForwarding yes',
      ].join('\n'),
    );
    await run('mkdir', ['-p', '/run/sshd']);
    const server = spawn(SSHD, ['-D', '-e', '-f', join(dir, 'sshd_config')], { stdio: 'ignore' });
    await waitForPort(port);
    const options = [
      '-o',
      'StrictHostKeyChecking=no',
      '-o',
      `UserKnownHostsFile=${dir}/known`,
      '-o',
      'IdentitiesOnly=yes',
      '-o',
      'ExitOnForwardFailure=yes',
    ];
    const client = spawn(
      'ssh',
      [
        '-F',
        'none',
        '-N',
        '-i',
        join(dir, 'user'),
        ...options,
        '-p',
        String(port),
        '-R',
        `127.0.0.1:${remote}:127.0.0.1:${originPort}`,
        'root@127.0.0.1',
      ],
      { stdio: 'ignore' },
    );
    await waitForPort(remote);
    const { stderr } = await run('ssh', ['-V']);
    return {
      ports: [remote],
      parts: { listener: childPids(server.pid as number), agent: [client.pid as number] },
      version: stderr.split(',')[0] ?? 'unknown',
      stop: async () => {
        client.kill();
        server.kill();
        await rm(dir, { recursive: true, force: true });
      },
    };
  },
};
