import { randomBytes } from 'node:crypto';
import { FrameParser, HEADROOM } from '@culvert/wire';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { FrameWriter } from '../src/index.ts';
import { Cleanup, tcpPair, until } from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A writer, how often it has written, and what its peer has read. */
async function pair(role: 'client' | 'server', maxFrame = 1 << 16) {
  const { inside, outside } = await tcpPair(cleanup);
  const got = { data: Buffer.alloc(0), texts: [] as string[] };
  const parser = new FrameParser(
    { role: role === 'client' ? 'server' : 'client' },
    {
      onData: (bytes, from, to) => {
        got.data = Buffer.concat([got.data, bytes.subarray(from, to)]);
      },
      onText: (text) => void got.texts.push(text),
      ...{ onEnd: () => {}, onPing: () => {}, onPong: () => {}, onClose: () => {} },
    },
  );
  outside.on('data', (chunk: Buffer) => parser.push(chunk));
  const writes = vi.spyOn(inside, 'write');
  return { writer: new FrameWriter(inside, { role, maxFrame }), writes, got, parser };
}

const IDLE = { type: 'idle', id: 'a' } as const;
/** Where data begin in their buffer. */
const PLACES = [
  ['with room for the header', HEADROOM],
  ['without', 0],
] as const;

describe.each(['client', 'server'] as const)('data of a %s', (role) => {
  it.each(PLACES)('%s, share one write with a message that waited for them', async (_, from) => {
    const { writer, writes, got } = await pair(role);
    writer.messageBeforeData(IDLE);
    const flushed = vi.fn();
    const bytes = Buffer.concat([Buffer.alloc(from), Buffer.from('GET /')]);
    writer.data(bytes, from, bytes.length, flushed);
    expect(writes).toHaveBeenCalledTimes(1);
    expect(flushed).toHaveBeenCalledTimes(1);
    await until('it has come', () => got.data.toString() === 'GET /');
    expect(got.texts).toEqual([JSON.stringify(IDLE)]);
  });

  it.each(PLACES)('%s, come whole and behind the message, however many they are', async (_, from) => {
    const { writer, got, parser } = await pair(role);
    writer.messageBeforeData(IDLE);
    const payload = randomBytes(200_000);
    const bytes = Buffer.concat([Buffer.alloc(from), payload]);
    const flushed = vi.fn();
    writer.data(bytes, from, bytes.length, flushed);
    await until('all of it has come', () => got.data.length === payload.length);
    expect(got.data.equals(payload)).toBe(true);
    expect(got.texts).toEqual([JSON.stringify(IDLE)]);
    expect(parser.frames).toBe(1 + Math.ceil(payload.length / (1 << 16)));
    await until('it is flushed', () => flushed.mock.calls.length > 0);
  });
});
