import type net from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { Reader } from '../src/reader.ts';
import { SLAB_SIZES } from '../src/slab.ts';
import { beside, Owner } from '../src/turns.ts';
import { Cleanup, tcpPair, until } from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** One who reads what the peer writes, and throws it away. */
async function reading(): Promise<{ owner: Owner; peer: net.Socket; arrived(): number }> {
  const { outside: peer, inside: near } = await tcpPair(cleanup);
  const owner = new Owner();
  let bytes = 0;
  const use = (_: Buffer, from: number, to: number): number => {
    bytes += to - from;
    return to;
  };
  const reader = new Reader({ owner, maxRead: SLAB_SIZES[2], turnBytes: 128 << 10, use });
  const socket = reader.attach(near);
  cleanup.add(socket, () => socket.destroy());
  reader.start();
  return { owner, peer, arrived: () => bytes };
}

async function send(to: Awaited<ReturnType<typeof reading>>, count: number): Promise<void> {
  const all = to.arrived() + count;
  to.peer.write(Buffer.alloc(count));
  await until(`${count} bytes arrive`, () => to.arrived() === all);
}

it('bulk takes small shares beside who sends little, and large ones beside other bulk, its beginning and its end included', async () => {
  const [bulk, other, somebody] = [await reading(), await reading(), await reading()];

  await send(bulk, 20); // it asks for something
  expect(beside(other.owner)).toBe(false);
  await send(bulk, 20); // it goes on so
  expect(beside(other.owner)).toBe(true);
  expect(beside(bulk.owner)).toBe(false);
  await send(bulk, 8 << 20);
  expect(beside(other.owner)).toBe(false);
  for (let round = 0; round < 3; round += 1) await send(bulk, 1_000); // the last of it
  expect(beside(other.owner)).toBe(false);

  for (let round = 0; round < 2; round += 1) await send(somebody, 200);
  expect(beside(bulk.owner)).toBe(true);
  expect(beside(somebody.owner)).toBe(false);
  await send(bulk, 1 << 20); // that bulk goes on makes nobody else's small requests bulk
  expect(beside(other.owner)).toBe(true);
});

it('who sent much and sends little again is waited for again', async () => {
  const [bulk, other] = [await reading(), await reading()];
  await send(bulk, 8 << 20);
  for (let round = 0; round < 10; round += 1) await send(bulk, 100);
  expect(beside(other.owner)).toBe(true);
});
