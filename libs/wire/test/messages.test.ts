import { CulvertError } from '@culvert/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeMessage, encodeMessage } from '../src/index.ts';

describe('messages', () => {
  it('come back as they were sent', () => {
    const dial = { type: 'dial', id: 'a', port: 22, path: '/v1/transfer/l/a', visitor: '[::1]:9' } as const;
    expect(decodeMessage(encodeMessage(dial))).toEqual(dial);
  });

  it('that are faulty say which field is wrong and what would be right', () => {
    expect(decodeMessage('{"type":"dial","id":"a","port":70000,"path":"/x","visitor":""}')).toEqual({
      type: 'fault',
      fault: 'field port of message dial is 70000; expected an integer from 1 to 65535',
    });
    expect(decodeMessage('{"type":"idle"}')).toEqual({
      type: 'fault',
      fault: 'message idle lacks field id; expected 1 to 64 characters of A-Z a-z 0-9 _ -',
    });
  });

  it('of each visitor say the same whether JSON reads them or not', () => {
    const ids = fc.oneof(fc.stringMatching(/^[A-Za-z0-9_-]{0,66}$/), fc.string());
    const visitors = fc.oneof(
      fc.ipV4(),
      fc.ipV6(),
      fc.constantFrom('', '1.2.3.4:5', '[::1]:9', 'edge:k3_Xz-9', 'a"b', 'x y', '\\u0041'),
      fc.string(),
    );
    const ports = fc.oneof(fc.integer({ min: -1, max: 70_000 }), fc.constantFrom(1, 65_535, 65_536, 1.5, 1e21));
    const message = fc.oneof(
      fc.record({ type: fc.constantFrom('accepted', 'idle'), id: ids }),
      fc.record({ type: fc.constant('accepted'), id: ids, local_ms: fc.integer({ min: -1, max: 9 }) }),
      fc.record({ type: fc.constant('assign'), id: ids, port: ports, visitor: visitors }),
      fc.record({
        type: fc.constant('assign'),
        id: ids,
        port: ports,
        visitor: visitors,
        traceparent: fc.string({ maxLength: 66 }),
      }),
    );
    fc.assert(
      fc.property(message, (given) => {
        const text = JSON.stringify(given);
        const decoded = decodeMessage(text);
        expect(decoded).toEqual(decodeMessage(` ${text}`)); // a blank in front, and it is read as JSON
        if (decoded.type === 'fault') expect(() => encodeMessage(given as never)).toThrow(decoded.fault);
        else expect([decoded, encodeMessage(given as never)]).toEqual([given, text]);
      }),
      { numRuns: 5000 },
    );
  });

  it('over 1,024 bytes, or that the peer would call faulty, are not written', () => {
    expect(() => encodeMessage({ type: 'bye', code: 'bye', message: 'ä'.repeat(512) })).toThrow(
      /has \d+ bytes; expected at most 1024/,
    );
    expect(() => encodeMessage({ type: 'idle', id: 'no spaces' })).toThrow(CulvertError);
  });

  it('of any text whatever are judged without an exception', () => {
    const value = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.double(), fc.array(fc.nat()));
    const name = fc.constantFrom('id', 'port', 'path', 'visitor', 'code', 'message', 'url', '__proto__', 'x');
    const type = fc.constantFrom(
      'endpoint',
      'ready',
      'dial',
      'refused',
      'wind_down',
      'bye',
      'assign',
      'accepted',
      'idle',
      'toString',
    );
    const object = fc.tuple(type, fc.dictionary(name, value)).map(([kind, fields]) => JSON.stringify({ ...fields, type: kind }));
    fc.assert(
      fc.property(fc.oneof(object, fc.string(), fc.json()), (text) => {
        const decoded = decodeMessage(text);
        if (decoded.type === 'fault') expect(decoded.fault).toMatch(/expected/);
      }),
      { numRuns: 2000 },
    );
  });
});
