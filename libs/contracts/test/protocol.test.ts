import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ERRORS, faultOfDeviceName, formatDuration, formatPortList, LIMITS, parseDuration, parsePortList } from '../src/index.ts';

describe('device names', () => {
  it.each(['a', 'alice', 'cam-7', '7', 'a'.repeat(63), 'xn--bcher-kva'])('accepts %s', (name) => {
    expect(faultOfDeviceName(name)).toBeUndefined();
  });
  it.each(['', 'Alice', 'a.b', 'a'.repeat(64), '-a', 'a-', 'bücher', 'a_b', 'a b', 'a\n', 'a\0'])(
    'refuses %j and says why',
    (name) => {
      expect(faultOfDeviceName(name)).toMatch(/expected/);
    },
  );
});

describe('port lists', () => {
  it('knows the meaning of bare numbers', () => {
    expect(parsePortList('80,443,22,http:8080,https:8443,tcp:5432')).toEqual({
      ok: true,
      ports: [
        { port: 80, scheme: 'http' },
        { port: 443, scheme: 'https' },
        { port: 22, scheme: 'tcp' },
        { port: 8080, scheme: 'http' },
        { port: 8443, scheme: 'https' },
        { port: 5432, scheme: 'tcp' },
      ],
    });
  });
  it.each([
    '',
    '0',
    '65536',
    '80,tcp:80',
    '80,',
    'udp:53',
    'tcp:',
    '-1',
    '80 ',
    '8e1',
    Array.from({ length: 33 }, (_, i) => i + 1).join(),
  ])('refuses %j and says what would be right', (text) => {
    const result = parsePortList(text);
    expect(result.ok).toBe(false);
    expect(result.ok ? '' : result.fault).toMatch(/expected/);
  });
  it('reads back what it writes', () => {
    const spec = fc.record({ port: fc.integer({ min: 1, max: 65_535 }), scheme: fc.constantFrom('http', 'https', 'tcp') });
    fc.assert(
      fc.property(fc.uniqueArray(spec, { selector: (one) => one.port, minLength: 1, maxLength: 32 }), (ports) => {
        expect(parsePortList(formatPortList(ports as never))).toEqual({ ok: true, ports });
      }),
    );
  });
});

describe('tables', () => {
  it('gives every code that can close a WebSocket a close code of its own, private or of RFC 6455', () => {
    const seen = new Set<number>();
    for (const [code, { close }] of Object.entries(ERRORS)) {
      if (close === null) continue;
      expect([1000, 1009, 1011].includes(close) || (close >= 4400 && close < 4600), code).toBe(true);
      expect(seen.has(close), `${code} shares ${close}`).toBe(false);
      seen.add(close);
    }
  });
  it('keeps every default within its own bounds', () => {
    for (const [name, limit] of Object.entries(LIMITS)) {
      expect(limit.default, name).toBeGreaterThanOrEqual(limit.min);
      expect(limit.default, name).toBeLessThanOrEqual(limit.max);
    }
  });
  it('keeps stale routes shorter than the cool-down of their ports', () => {
    expect(LIMITS.ROUTE_STALE_MS.default + LIMITS.EDGE_KEEPALIVE_MS.default).toBeLessThan(LIMITS.COOL_DOWN_MS.default);
  });
  it('reads durations and writes them back', () => {
    expect(['1500ms', '30s', '10m', '1h', '7d', '1.5h'].map(parseDuration)).toEqual([
      1500, 30_000, 600_000, 3_600_000, 604_800_000, 5_400_000,
    ]);
    expect(['', '5', 's', '-1s', '1 s', '1w'].map(parseDuration)).toEqual(Array(6).fill(undefined));
    fc.assert(fc.property(fc.integer({ min: 1, max: 10 ** 10 }), (ms) => parseDuration(formatDuration(ms)) === ms));
  });
});
