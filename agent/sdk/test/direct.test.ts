import { describe, expect, it, vi } from 'vitest';
import type { AgentOptions } from '../src/index.ts';
import { TransferOpener } from '../src/open-transfer.ts';
import { echo, type Happened, happened, serve, start, target } from './kit.ts';
import {
  dial,
  echoes,
  KEY,
  leavesSilenceAlone,
  restsLonger,
  type Scene,
  silentListener,
  transferPaths,
  waitsForTheAnswer,
} from './past-edge.ts';

/** An agent that offers tcp:7, its server, and a listener that is published beside it. */
async function scene(url?: string, limits?: AgentOptions['limits']): Promise<Scene & { events: Happened[] }> {
  const listener = await serve({ token: KEY });
  const server = await serve({ direct: { url: url ?? listener.url.replace('http', 'ws'), key: KEY } });
  const mappings = [{ port: 7, scheme: 'tcp' as const, target: { host: '127.0.0.1', port: await target(echo) } }];
  const { events } = start({ servers: [server.url], mappings, warm: 0, ...(limits === undefined ? {} : { limits }) });
  const control = await server.control(0);
  await happened(events, 'ready');
  return { server, listener, control, events };
}

describe('a transfer past the edge', () => {
  it('is dialled at the listener with its key, never with the device token', async () => {
    const { server, listener, control } = await scene();
    const peer = listener.expect('one');
    dial(control, 'one');
    await echoes(await peer);
    expect(transferPaths(server)).toEqual([]);
    expect(listener.handshakes.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${KEY}`]);
  });

  it('falls back to the server when the listener is not reached, and goes there at once the next time', async () => {
    const { server, listener, control } = await scene();
    for (const id of ['one', 'two']) {
      const peer = server.expect(id); // the listener knows neither
      dial(control, id);
      await echoes(await peer);
    }
    expect(transferPaths(listener)).toEqual(['/v1/transfer/tcp-listener-1/one']);
    expect(server.handshakes.at(-1)?.headers.authorization).toBe('Bearer device-token');
  });

  it('falls back when nobody listens there', async () => {
    const { server, control } = await scene('ws://127.0.0.1:1');
    const peer = server.expect('one');
    dial(control, 'one');
    await echoes(await peer);
  });

  it('is known as such, for bulk spares the edge only', async () => {
    const open = vi.spyOn(TransferOpener.prototype, 'open');
    const ways: boolean[] = [];
    for (const url of [undefined, 'ws://127.0.0.1:1']) {
      const { server, listener, control } = await scene(url);
      const peer = (url === undefined ? listener : server).expect('one');
      dial(control, 'one');
      await echoes(await peer);
      const opened = open.mock.results.at(-1) as { value: ReturnType<TransferOpener['open']> };
      ways.push((await opened.value).byEdge);
    }
    open.mockRestore();
    expect(ways).toEqual([false, true]);
  });

  it('waits for a listener that has the request, and may have joined the visitor', async () => {
    await waitsForTheAnswer(await scene());
  });

  it('leaves an address alone that says nothing, even when the server then knows the dial no more', async () => {
    const silent = await silentListener();
    const { events, ...around } = await scene(silent.url, { HANDSHAKE_MS: 1000 });
    await leavesSilenceAlone(around, () => happened(events, 'transfer'));
    expect(silent.asked()).toBe(1);
  });

  it('tries an address that gives nothing after rests that double, until it gives a transfer', async () => {
    const restMs = 2_000;
    await restsLonger(await scene(undefined, { MEND_REST_MS: restMs }), restMs);
  });

  it.each(['http://127.0.0.1:1', 'nonsense', 'ftp://127.0.0.1:1'])('is not dialled at %s', async (url) => {
    const { server, control } = await scene(url);
    const peer = server.expect('one');
    dial(control, 'one');
    await echoes(await peer);
  });
});
