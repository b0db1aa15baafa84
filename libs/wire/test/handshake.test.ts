import { CulvertError } from '@culvert/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { splitRequest } from '../scripts/vectors.ts';
import {
  handshakePath,
  parseControlHandshake,
  parseTransferHandshake,
  ResponseParser,
  renderRefusal,
  renderRequest,
  renderUpgrade,
} from '../src/index.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

describe('a handshake request', () => {
  it('of the client is understood by the server', () => {
    const path = '/v1/control?name=alice&ports=80,tcp:22&warm=2&boot=Zk3vQ1x9T0aB';
    const text = renderRequest({ host: 'h:8080', path, key: KEY, token: 'secret', headers: { 'User-Agent': 'x' } });
    const { method, url, headers } = splitRequest(text);
    expect(headers.host).toBe('h:8080');
    expect(headers['user-agent']).toBe('x');
    expect(parseControlHandshake(method, url, headers)).toMatchObject({ ok: true, name: 'alice', warm: 2, token: 'secret' });
  });

  it('is never written with a line break inside a header', () => {
    expect(() => renderRequest({ host: 'h', path: '/', key: KEY, token: 'a\r\nX: y' })).toThrow(CulvertError);
  });

  it('names the listener of a transfer, and says which handshakes are none of ours', () => {
    expect(handshakePath('/v1/control?name=a')).toEqual({ kind: 'control' });
    expect(handshakePath('/v1/transfer/l1/abc')).toEqual({ kind: 'transfer', listener: 'l1' });
    expect(handshakePath('/v1/transfer/l1?warm=1')).toEqual({ kind: 'transfer', listener: 'l1' });
    for (const url of ['/', '/v1/transfer', '/v1/transfer/', '/v1/transfer/a/b/c', '/v1/controls']) {
      expect(handshakePath(url)).toBeUndefined();
    }
  });

  it('of any kind whatever is judged without an exception', () => {
    const header = fc.option(fc.oneof(fc.string(), fc.array(fc.string(), { maxLength: 2 })), { nil: undefined });
    const headers = fc.record({
      upgrade: fc.oneof(header, fc.constant('websocket')),
      connection: fc.oneof(header, fc.constant('Upgrade')),
      'sec-websocket-key': fc.oneof(header, fc.constant(KEY)),
      'sec-websocket-version': fc.oneof(header, fc.constant('13')),
      'sec-websocket-protocol': fc.oneof(header, fc.constant('culvert.v1')),
      authorization: fc.oneof(header, fc.constant('Bearer x')),
    });
    const url = fc.oneof(
      fc.string().map((query) => `/v1/control?${query}`),
      fc.string().map((tail) => `/v1/transfer/${tail}`),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.constantFrom('GET', 'PUT', ''), url, headers, (method, target, given) => {
        for (const parse of [parseControlHandshake, parseTransferHandshake]) {
          const result = parse(method, target, given);
          if (!result.ok) expect(result.message.length).toBeGreaterThan(0);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('the answer to a handshake', () => {
  const refusal = renderRefusal({ code: 'name_in_use', message: 'grüße', retryAfterMs: 1500 });

  it('is a refusal with a status, a code and a whole number of seconds', () => {
    expect(refusal).toMatch(/^HTTP\/1\.1 409 Conflict\r\n/);
    expect(refusal).toMatch(/\r\nRetry-After: 2\r\n/);
    expect(refusal).toMatch(/\r\nConnection: close\r\n/);
    expect(refusal.endsWith('\r\n\r\n{"code":"name_in_use","message":"grüße"}')).toBe(true);
  });

  it('parses equal however it is split, and gives the rest to the WebSocket', () => {
    const upgraded = Buffer.concat([Buffer.from(renderUpgrade(KEY)), Buffer.from([0x89, 0])]);
    for (let split = 1; split < upgraded.length; split++) {
      const parser = new ResponseParser(KEY);
      const first = parser.push(upgraded.subarray(0, split));
      const answer = first ?? parser.push(upgraded.subarray(split));
      expect(answer?.kind).toBe('upgraded');
    }
    for (let split = 1; split < Buffer.byteLength(refusal); split++) {
      const parser = new ResponseParser(KEY);
      expect(parser.push(Buffer.from(refusal).subarray(0, split))).toBeUndefined();
      expect(parser.push(Buffer.from(refusal).subarray(split))).toEqual({
        kind: 'refused',
        status: 409,
        code: 'name_in_use',
        message: 'grüße',
        retryAfterMs: 2000,
      });
    }
  });

  it('of any bytes whatever throws nothing but a CulvertError', () => {
    const answer = fc.oneof(
      fc.string(),
      fc.string().map((text) => `HTTP/1.1 101 x\r\n${text}\r\n\r\n`),
      fc.string().map((text) => `HTTP/1.1 503 \r\n\r\n${text}`),
    );
    fc.assert(
      fc.property(fc.array(answer, { maxLength: 3 }), (parts) => {
        const parser = new ResponseParser(KEY);
        try {
          for (const part of parts) if (parser.push(Buffer.from(part)) !== undefined) break;
          parser.end();
        } catch (error) {
          expect(error).toBeInstanceOf(CulvertError);
        }
      }),
      { numRuns: 500 },
    );
  });
});
