import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { reset } from '../src/adopt.ts';
import { Cleanup, tcpPair } from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

describe('a reset', () => {
  it.each([
    ['in the turn of the end', (done: () => void) => done()],
    ['after the end, while FIN is being sent', (done: () => void) => process.nextTick(done)],
    ['a turn later', (done: () => void) => setImmediate(done)],
  ])(
    '%s closes the socket',
    async (_, later) => {
      const { inside } = await tcpPair(cleanup);
      const closed = once(inside, 'close');
      inside.end();
      later(() => reset(inside));
      await closed;
      expect(inside.errored).toBeNull();
    },
    5_000,
  );

  it('does not wait for bytes that the peer does not read', async () => {
    const { outside, inside } = await tcpPair(cleanup);
    outside.pause();
    for (let block = 0; block < 64; block += 1) inside.write(Buffer.alloc(1 << 20));
    inside.end();
    const closed = once(inside, 'close');
    reset(inside);
    await closed;
  });
});
