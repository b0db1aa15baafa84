import { describe, expect, it } from 'vitest';
import { faultsOfOptions, formatMapping, parseMapping } from '../src/index.ts';

describe('a mapping', () => {
  it.each([
    ['80', 'http:80=127.0.0.1:80'],
    ['443', 'https:443=127.0.0.1:443'],
    ['5432', 'tcp:5432=127.0.0.1:5432'],
    ['http:8080=127.0.0.1:3000', 'http:8080=127.0.0.1:3000'],
    ['tcp:22=192.168.1.7:22', 'tcp:22=192.168.1.7:22'],
    ['tcp:22=[::1]:22', 'tcp:22=[::1]:22'],
    ['tcp:22=[fe80::1%eth0]:22', 'tcp:22=[fe80::1%eth0]:22'],
    ['80=printer_1.lan:631', 'http:80=printer_1.lan:631'],
  ])('%s means %s', (text, meaning) => {
    const parsed = parseMapping(text);
    expect(parsed.ok && formatMapping(parsed.mapping)).toBe(meaning);
  });

  it.each(['', '0', '65536', 'ftp:21', '80,81', '80=', '80=3000', '80=a b:1', '80=::1:22', '80=[127.0.0.1]:22', '80=host:0'])(
    '%j is a fault that says what is expected',
    (text) => {
      const parsed = parseMapping(text);
      expect(!parsed.ok && parsed.fault).toMatch(/expected .*for example/);
    },
  );
});

it('reports all faults of the options at once, and repeats no credentials', () => {
  const faults = faultsOfOptions({
    servers: ['ftp://x', 'https://user:secret@x', 'https://x/path'],
    name: 'Alice',
    token: 'two words',
    mappings: [
      { port: 80, scheme: 'http', target: { host: '127.0.0.1', port: 80 } },
      { port: 80, scheme: 'tcp', target: { host: '127.0.0.1', port: 0 } },
    ],
    proxy: 'https://user:secret@proxy:1',
    transfers: 0,
    maxFrame: 1,
    limits: { LINGER_MS: 0.5 },
  });
  expect(faults).toHaveLength(11);
  expect(faults.join()).not.toContain('secret');
});
