import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { findProgram } from '../../deploy/local/bin/system.mjs';

const COMPOSE = join(import.meta.dirname, '../../deploy/compose');
const program = findProgram('docker-compose');
if (program === undefined) console.log('NOT CHECKED: the files of deploy/compose, for docker-compose is not here');

/** Asks for no engine: what the files come to, with all profiles. */
describe.skipIf(program === undefined)('the files of deploy/compose', { timeout: 60_000 }, () => {
  const config = async (files: readonly string[], env: Record<string, string> = {}): Promise<string> => {
    const args = [...files.flatMap((name) => ['-f', join(COMPOSE, name)]), '--profile', 'replicas', '--profile', 'observability'];
    const { PATH = '' } = process.env;
    return (await promisify(execFile)(program as string, [...args, 'config'], { env: { PATH, ...env }, timeout: 50_000 })).stdout;
  };
  const service = (text: string, name: string): string => new RegExp(`^  ${name}:\n((?:    .*\n)+)`, 'm').exec(text)?.[1] ?? '';
  const settingOf = (text: string, name: string): string | undefined =>
    new RegExp(`^ +${name}: ["']?([^"'\n]*)`, 'm').exec(text)?.[1];

  it('publish no listener for transfers by themselves', async () => {
    const text = await config(['compose.yaml']);
    expect(service(text, 'tcp-listener')).toContain('CULVERT_INSTANCE_ID: tcp-listener-1');
    expect(text).not.toMatch(/CULVERT_TRANSFER|tcp-listener\/key\.pem/);
  });

  it('publish each listener at a port of its own by transfers.yaml, with the certificate that set-up gives them', async () => {
    const files = ['compose.yaml', 'transfers.yaml'];
    const text = await config(files, { CULVERT_TRANSFER_NAME: 'culvert.example', CULVERT_TRANSFER_PORT_2: '9444' });
    for (const [name, port] of Object.entries({ 'tcp-listener': 8443, 'tcp-listener-2': 9444 })) {
      const listener = service(text, name);
      expect(settingOf(listener, 'CULVERT_TRANSFER_URL')).toBe(`wss://culvert.example:${port}`);
      expect(settingOf(listener, 'CULVERT_TRANSFER_PORT')).toBe('8443');
      expect(settingOf(listener, 'CULVERT_TLS_CERT_FILE')).toBe('/secrets/tcp-listener/chain.pem');
      expect(settingOf(listener, 'CULVERT_TLS_KEY_FILE')).toBe('/secrets/tcp-listener/key.pem');
      expect(settingOf(listener, 'CULVERT_EDGE_SECRET_FILE')).toBe('/secrets/tcp-listener/edge-secret');
      expect(listener).toMatch(new RegExp(`published: ${port}\n +target: 8443\n`));
      expect(listener).toMatch(/set-up:\n +condition: service_completed_successfully\n/);
    }
    expect(settingOf(service(text, 'set-up'), 'CULVERT_TRANSFERS')).toBe('on');
    expect(service(text, 'ws-ingress')).not.toContain('CULVERT_TRANSFER');
    await expect(config(files)).rejects.toThrow('the name of this machine as devices know it');
  });
});
