import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { faultsInProduction, setting } from '../src/index.ts';

const settings = {
  CULVERT_NATS_URL: { read: setting.url('nats:'), secret: true },
  CULVERT_ADMIN_TOKEN: { read: setting.text(), secret: true },
  CULVERT_LISTEN_HOST: { read: setting.text(), fallback: '127.0.0.1', internal: true },
};
const random = (): string => randomBytes(32).toString('base64url');
const good = () => ({
  CULVERT_PRODUCTION: '1',
  CULVERT_NATS_URL: `nats://admin:${random()}@10.0.0.1:4222,nats://admin:${random()}@10.0.0.2:4222`,
  CULVERT_ADMIN_TOKEN: random(),
});

describe('a service in production', () => {
  it('starts with random secrets and private listeners', () => {
    for (let i = 0; i < 200; i++) expect(faultsInProduction(settings, good())).toEqual([]);
    for (const host of ['10.1.2.3', '192.168.7.7', '::1', 'fd00::5', 'localhost']) {
      expect(faultsInProduction(settings, { ...good(), CULVERT_LISTEN_HOST: host })).toEqual([]);
    }
  });

  it.each([
    'change-me-change-me-change-me',
    'culvert-admin-token-of-the-example',
    'short',
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
  ])('refuses to start with the secret %s, and does not quote it', (word) => {
    const [fault = ''] = faultsInProduction(settings, { ...good(), CULVERT_ADMIN_TOKEN: word });
    expect(fault).toMatch(/^CULVERT_ADMIN_TOKEN .*expected at least 24 random characters/);
    expect(fault).not.toContain(word);
  });

  it('refuses anonymous access to the bus, and its well-known passwords', () => {
    for (const url of ['nats://10.0.0.1:4222', 'nats://token@10.0.0.1', 'nats://culvert:culvert@10.0.0.1']) {
      expect(faultsInProduction(settings, { ...good(), CULVERT_NATS_URL: url })).toHaveLength(1);
    }
  });

  it.each(['0.0.0.0', '::', '203.0.113.5', '2001:db8::1'])('refuses to listen on %s unless told', (host) => {
    const env = { ...good(), CULVERT_LISTEN_HOST: host };
    expect(faultsInProduction(settings, env)[0]).toMatch(/^CULVERT_LISTEN_HOST .*CULVERT_ALLOW_PUBLIC_LISTENERS=1/);
    expect(faultsInProduction(settings, { ...env, CULVERT_ALLOW_PUBLIC_LISTENERS: '1' })).toEqual([]);
  });

  it('is one by NODE_ENV as well, unless CULVERT_PRODUCTION says otherwise', () => {
    const env = { ...good(), CULVERT_PRODUCTION: '', NODE_ENV: 'production', CULVERT_ADMIN_TOKEN: 'short' };
    expect(faultsInProduction(settings, env)).toHaveLength(1);
    expect(faultsInProduction(settings, { ...env, CULVERT_PRODUCTION: '0' })).toEqual([]);
    expect(faultsInProduction(settings, { ...env, NODE_ENV: 'development' })).toEqual([]);
  });
});
