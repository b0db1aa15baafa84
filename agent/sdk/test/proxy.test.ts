import { describe, expect, it } from 'vitest';
import { proxyFor } from '../src/proxy.ts';

const P = 'http://proxy.example:3128';

describe('the proxy of the environment', () => {
  const of = (server: string, env: Record<string, string>) => proxyFor(new URL(server), undefined, env);

  it('is HTTPS_PROXY for https and wss, HTTP_PROXY for http and ws, in small letters first', () => {
    expect(of('https://a.example', { HTTPS_PROXY: P })).toBe(P);
    expect(of('wss://a.example', { HTTPS_PROXY: P, https_proxy: 'http://other:1' })).toBe('http://other:1');
    expect(of('http://a.example', { HTTPS_PROXY: P })).toBeUndefined();
    expect(of('ws://a.example', { HTTP_PROXY: 'proxy.example:3128' })).toBe(P);
  });

  it('is left aside for what NO_PROXY lists', () => {
    const bypassed = (server: string, list: string) => of(server, { HTTPS_PROXY: P, NO_PROXY: list }) === undefined;
    expect(bypassed('https://a.example', '*')).toBe(true);
    expect(bypassed('https://a.b.example', 'x.example, .b.example')).toBe(true);
    expect(bypassed('https://ab.example', 'b.example')).toBe(false);
    expect(bypassed('https://a.example:8443', 'a.example:8443')).toBe(true);
    expect(bypassed('https://a.example', 'a.example:8443')).toBe(false);
    expect(bypassed('https://10.1.2.3', '10.0.0.0/8')).toBe(true);
    expect(bypassed('https://11.1.2.3', '10.0.0.0/8')).toBe(false);
    expect(bypassed('https://[::1]:8443', '::1')).toBe(true);
    expect(bypassed('https://[fd00::7]', 'fd00::/8')).toBe(true);
  });

  it('is overruled by the option, also by none', () => {
    expect(proxyFor(new URL('https://a.example'), null, { HTTPS_PROXY: P })).toBeUndefined();
    expect(proxyFor(new URL('https://a.example'), 'http://mine:1', { NO_PROXY: '*' })).toBe('http://mine:1');
  });
});
