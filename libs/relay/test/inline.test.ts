import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { InlineStream, spliceInline } from '../src/index.ts';
import type { InlineCarrier } from '../src/inline-stream.ts';
import { Cleanup, limits, tcpPair } from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

describe('an inline transfer', () => {
  it('hands on each piece at once, though neither more nor END follows', async () => {
    const carrier: InlineCarrier = {
      send: (_stream, _bytes, flushed) => flushed(),
      sendEnd: () => {},
      consumed: () => {},
      close: () => {},
    };
    const stream = cleanup.add(new InlineStream(carrier, 0, 1_000), (one) => one.destroy());
    const { outside, inside } = await tcpPair(cleanup);
    const done = spliceInline(stream, inside, { limits: limits() });
    for (const piece of ['first', 'second']) {
      stream.receive(Buffer.from(piece));
      expect(String((await once(outside, 'data'))[0])).toBe(piece);
    }
    stream.receiveEnd();
    outside.resume().end();
    expect(await done).toMatchObject({ outcome: 'ok', toDevice: 11, toVisitor: 0 });
  });
});
