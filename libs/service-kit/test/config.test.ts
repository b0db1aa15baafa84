import { describe, expect, it } from 'vitest';
import { ConfigError, createDeviceToken, digestOf, isWellFormedToken, loadConfig, setting } from '../src/index.ts';

const settings = {
  PORT: { read: setting.port(), fallback: 8080 },
  RANGE: { read: setting.portRange() },
  URL: { read: setting.url('redis:'), secret: true },
} as const;

function faultsOf(env: Record<string, string>): readonly string[] {
  try {
    loadConfig(settings, env);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  return [];
}

describe('configuration', () => {
  it('reads values, defaults and limits', () => {
    const { values, limits } = loadConfig(settings, {
      RANGE: '20000-20999',
      URL: 'redis://127.0.0.1:1',
      CULVERT_LIMIT_DIAL_MS: '300ms',
      CULVERT_LIMIT_TURN_BYTES: '65536',
      CULVERT_GRACE: '5m',
    });
    expect(values).toEqual({ PORT: 8080, RANGE: [20_000, 20_999], URL: 'redis://127.0.0.1:1' });
    expect([limits.DIAL_MS, limits.TURN_BYTES, limits.GRACE_MS]).toEqual([300, 65_536, 300_000]);
  });

  it('reports every fault at once with name, value and what would be right, and hides secrets', () => {
    const faults = faultsOf({
      PORT: '65536',
      RANGE: '9-3',
      URL: 'http://user:hunter2@x',
      CULVERT_LIMIT_DIAL_MS: 'soon',
      CULVERT_LIMIT_NO_SUCH: '1',
      CULVERT_GRACE: '0',
    });
    expect(faults).toHaveLength(6);
    expect(faults.join('\n')).toContain('PORT="65536" is not valid; expected a whole number from 1 to 65535');
    expect(faults.join('\n')).toContain('CULVERT_LIMIT_NO_SUCH is not a limit');
    expect(faults.join('\n')).not.toContain('hunter2');
  });

  it('names a required setting that is absent', () => {
    expect(faultsOf({ URL: 'redis://x' })).toEqual([
      'RANGE is not set; expected a range of ports such as 20000-20999, within 1-65535',
    ]);
  });
});

describe('device tokens', () => {
  it('are all different, recognisable, and tell a typing error apart', () => {
    const token = createDeviceToken();
    expect(token).not.toBe(createDeviceToken());
    expect(isWellFormedToken(token)).toBe(true);
    for (let at = 4; at < token.length; at += 1) {
      const typo = token.slice(0, at) + (token[at] === 'x' ? 'y' : 'x') + token.slice(at + 1);
      expect(isWellFormedToken(typo), `position ${at}`).toBe(false);
    }
    expect(digestOf(token)).toMatch(/^[0-9a-f]{64}$/);
  });
});
