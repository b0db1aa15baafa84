import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ConfigError, faultsInProduction, loadConfig, ownAddressIn, readHost, setting } from '../src/index.ts';

describe('where something listens', () => {
  it('is an address or a name as it stands, or this machine’s own address in a network', () => {
    expect(readHost('::')).toEqual({ value: '::' });
    expect(readHost('localhost')).toEqual({ value: 'localhost' });
    expect(readHost('127.0.0.0/8')).toEqual({ value: '127.0.0.1' });
    expect(ownAddressIn('127.0.0.1')).toBeUndefined();
  });

  it('is refused when this machine does not stand in the network, or it is none', () => {
    for (const text of ['203.0.113.0/24', '127.0.0.0/33', 'x/8']) {
      expect(readHost(text)).toEqual({ expected: expect.stringContaining('a network such as 10.0.0.0/8') });
    }
  });

  it('is judged in production by the address that the network stands for', () => {
    const settings = { HOST: { read: readHost, internal: true } };
    expect(faultsInProduction(settings, { NODE_ENV: 'production', HOST: '127.0.0.0/8' })).toEqual([]);
    expect(faultsInProduction(settings, { NODE_ENV: 'production', HOST: '0.0.0.0' })).toHaveLength(1);
  });
});

describe('secrets in files', () => {
  const dir = mkdtempSync(join(tmpdir(), 'culvert-secrets-'));
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  const settings = {
    TOKEN: { read: setting.text(), secret: true },
    PLAIN: { read: setting.text(), fallback: 'none' },
  } as const;

  it('are read where NAME_FILE says, without the end of the line, and only for secrets', () => {
    const path = file('token', 'cva_abc\n');
    expect(loadConfig(settings, { TOKEN_FILE: path, PLAIN_FILE: path }).values).toEqual({ TOKEN: 'cva_abc', PLAIN: 'none' });
    expect(loadConfig(settings, { TOKEN: 'own', TOKEN_FILE: path }).values.TOKEN).toBe('own');
    expect(faultsInProduction(settings, { NODE_ENV: 'production', TOKEN_FILE: path })).toEqual([
      expect.stringContaining('TOKEN is 7 characters long'),
    ]);
  });

  it('are missed by name, never quoted', () => {
    const faults = (path: string): readonly string[] => {
      try {
        loadConfig(settings, { TOKEN_FILE: path });
      } catch (error) {
        if (error instanceof ConfigError) return error.faults;
      }
      return [];
    };
    expect(faults(join(dir, 'absent'))[0]).toMatch(/^TOKEN_FILE=".*absent" cannot be read: ENOENT$/);
    expect(faults(file('empty', '\n'))[0]).toMatch(/is empty/);
  });
});
