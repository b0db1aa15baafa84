import { once } from 'node:events';
import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { pipe } from '../src/index.ts';

async function all(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

describe('a pipe', () => {
  it('carries both directions, each to its own end', async () => {
    const [here, there] = pipe();
    here.end('one way');
    expect((await all(there)).toString()).toBe('one way');
    there.end('and back');
    expect((await all(here)).toString()).toBe('and back');
  });

  it('flushes a write when the other end has taken it, and holds no more than its cap', async () => {
    const [here, there] = pipe();
    let flushed = 0;
    for (let at = 0; at < 64; at += 1) here.write(Buffer.alloc(64 << 10), () => (flushed += 1));
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(there.readableLength).toBeLessThanOrEqual(128 << 10);
    expect(flushed).toBeLessThanOrEqual(2);
    let bytes = 0;
    there.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    here.end();
    await once(there, 'end');
    expect(bytes).toBe(64 * (64 << 10));
    expect(flushed).toBe(64);
  });

  it('copies what is written, whose buffer may be used again', async () => {
    const [here, there] = pipe();
    const slab = Buffer.from('first');
    here.write(slab);
    slab.write('later');
    here.end();
    expect((await all(there)).toString()).toBe('first');
  });

  it('resets the other end when one is destroyed early, a turn later', async () => {
    const [here, there] = pipe();
    const failed = once(there, 'error') as Promise<[NodeJS.ErrnoException]>;
    here.destroy();
    expect(there.destroyed).toBe(false);
    expect((await failed)[0].code).toBe('ECONNRESET');
  });

  it('leaves the other end what it has not read yet when both directions were over', async () => {
    const [here, there] = pipe();
    there.end();
    here.resume();
    await once(here, 'end');
    here.end('the last words');
    await once(here, 'finish');
    here.destroy();
    await new Promise(setImmediate);
    expect((await all(there)).toString()).toBe('the last words');
  });
});
