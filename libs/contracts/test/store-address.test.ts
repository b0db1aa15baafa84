import { describe, expect, it } from 'vitest';
import { parseStoreAddress } from '../src/index.ts';

describe('the address of the store', () => {
  it('is one Redis by its URL', () => {
    expect(parseStoreAddress('redis://user:pass@127.0.0.1:6379/1')).toEqual({
      kind: 'single',
      url: 'redis://user:pass@127.0.0.1:6379/1',
    });
  });
  it('is the primary that sentinels name', () => {
    expect(parseStoreAddress('redis+sentinel://lease-manager:p%40ss@10.0.0.1:5000,[fd00::1],sentinel.local/culvert')).toEqual({
      kind: 'sentinel',
      sentinels: [
        { host: '10.0.0.1', port: 5000 },
        { host: 'fd00::1', port: 26_379 },
        { host: 'sentinel.local', port: 26_379 },
      ],
      name: 'culvert',
      user: 'lease-manager',
      password: 'p@ss',
    });
  });
  it.each([
    'http://127.0.0.1',
    'redis+sentinel://127.0.0.1:26379',
    'redis+sentinel://127.0.0.1:26379/',
    'redis+sentinel:///culvert',
    'redis+sentinel://a:1,,b:2/culvert',
    'redis+sentinel://a:99999/culvert',
    'redis+sentinel://u:%zz@a/culvert',
  ])('is refused as %s', (text) => {
    expect(parseStoreAddress(text)).toBeUndefined();
  });
});
