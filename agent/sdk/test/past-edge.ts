import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import { target, until } from './kit.ts';
import type { Peer, TestControl, TestServer } from './server.ts';

/** What agents in all languages must do about a listener that is published beside their server. */
export interface Scene {
  server: TestServer;
  listener: TestServer;
  control: TestControl;
}

/** The bearer token of direct transfers. */
export const KEY = 'transfer-key';

export function dial(control: TestControl, id: string): void {
  control.send({ type: 'dial', id, port: 7, path: `/v1/transfer/tcp-listener-1/${id}`, visitor: '192.0.2.1:5555' });
}

/** One visitor of tcp:7 from the first byte to the close. */
export async function echoes(peer: Peer): Promise<void> {
  peer.send('hello');
  await until('the echo', () => peer.received.toString() === 'hello');
  peer.end();
  await until('the close', () => peer.closed);
}

export const transferPaths = (server: TestServer): string[] =>
  server.handshakes.map(({ path }) => path).filter((path) => path.includes('/v1/transfer/'));

/** A listener that has the request may have joined the visitor, and is waited for. */
export async function waitsForTheAnswer({ server, listener, control }: Scene): Promise<void> {
  listener.slowMs = 4_000; // longer than a connection may take
  const peer = listener.expect('one');
  dial(control, 'one');
  await echoes(await peer);
  expect(transferPaths(server)).toEqual([]);
}

/** Takes connections, and answers nothing. */
export async function silentListener(): Promise<{ url: string; asked(): number }> {
  let asked = 0;
  const port = await target((socket) => void socket.resume().once('data', () => (asked += 1)));
  return { url: `ws://127.0.0.1:${port}`, asked: () => asked };
}

/** An address that says nothing is left alone, even when the server then knows the dial no more. `over`: the first visitor is. */
export async function leavesSilenceAlone({ server, control }: Scene, over: () => Promise<unknown>): Promise<void> {
  dial(control, 'one'); // the server refuses it
  await over();
  const peer = server.expect('two');
  dial(control, 'two');
  await echoes(await peer);
  expect(transferPaths(server).map((path) => path.split('/').at(-1))).toEqual(['one', 'two']);
}

/**
 * What gives no transfer is left alone for a rest, for twice that rest when it still gives none, and for the first rest again when
 * it has given one in between.
 */
export async function restsLonger({ server, listener, control }: Scene, restMs: number): Promise<void> {
  let visits = 0;
  let askedAt = 0;
  /** Visits, served by the server unless the listener `works`, until the listener was asked for one; gives how long it rested. */
  const untilAsked = async (works = false): Promise<number> => {
    const rests = askedAt;
    const before = transferPaths(listener).length;
    do {
      await pause(restMs / 50);
      askedAt = performance.now();
      const id = `visit-${++visits}`;
      const served = [server, ...(works ? [listener] : [])].map((way) => way.expect(id));
      dial(control, id);
      await echoes(await Promise.race(served));
    } while (transferPaths(listener).length === before);
    return performance.now() - rests;
  };
  await untilAsked();
  expect(await untilAsked()).toBeGreaterThanOrEqual(restMs);
  expect(await untilAsked(true)).toBeGreaterThanOrEqual(2 * restMs);
  await untilAsked();
  expect(await untilAsked()).toBeLessThan(3 * restMs); // it would be 4
}
