import { createHash, randomBytes } from 'node:crypto';
import type net from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { Cleanup, readAll, tcpPair, transferPair } from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function spliced(options: Parameters<typeof transferPair>[1] = {}) {
  const { server, client } = await transferPair(cleanup, options);
  const visitor = await tcpPair(cleanup);
  const local = await tcpPair(cleanup);
  const atServer = server.splice(visitor.inside);
  const atClient = client.splice(local.inside);
  return { server, client, visitor: visitor.outside, local: local.outside, atServer, atClient };
}

async function pour(socket: net.Socket, chunks: Buffer[]): Promise<void> {
  for (const chunk of chunks) if (!socket.write(chunk)) await new Promise((resolve) => socket.once('drain', resolve));
  socket.end();
}

describe('a transfer', () => {
  it('hands bytes on both ways, and ends when both directions have', async () => {
    const { visitor, local, atServer, atClient } = await spliced();
    visitor.end('question');
    expect((await readAll(local)).toString()).toBe('question');
    local.end('the answer');
    expect((await readAll(visitor)).toString()).toBe('the answer');
    expect(await atServer).toEqual({ outcome: 'ok', toDevice: 8, toVisitor: 10 });
    expect(await atClient).toEqual({ outcome: 'ok', toDevice: 8, toVisitor: 10 });
  });

  it('is binary clean both ways at once, whatever the chunks', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 12 }),
        fc.constantFrom(125, 1000, 65_536, 1 << 20),
        async (up, down, maxFrame) => {
          const { visitor, local, atServer, atClient } = await spliced({ server: { maxFrame }, client: { maxFrame } });
          const sent = [up, down].map((sizes) => sizes.map((size) => randomBytes(size))) as [Buffer[], Buffer[]];
          const [atLocal, atVisitor] = await Promise.all([
            readAll(local),
            readAll(visitor),
            pour(visitor, sent[0]),
            pour(local, sent[1]),
          ]);
          expect(sha(atLocal)).toBe(sha(Buffer.concat(sent[0])));
          expect(sha(atVisitor)).toBe(sha(Buffer.concat(sent[1])));
          const totals = { outcome: 'ok', toDevice: atLocal.length, toVisitor: atVisitor.length };
          expect(await atServer).toEqual(totals);
          expect(await atClient).toEqual(totals);
          await cleanup.run();
        },
      ),
      { numRuns: 15 },
    );
  });
});
