import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Cleanup, listen, pause, readAll, tcpPair, transferPair, until } from './support.ts';

/** Longer than the sweep takes to see a splice. */
const LIVED_MS = 700;
const BYTES = 8 << 20;
/** So much the system takes for a visitor who does not read. */
const FITS = 128 << 10;

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** Elsewhere the system cannot be told; where it can, `koffi` has to be there. */
const linux = process.platform === 'linux';

/** How a socket ended that is read all the time: `end`, or the code of its error. */
function endOf(socket: net.Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.on('end', () => resolve('end'));
    socket.resume();
  });
}

/** A visitor and a target, with a process between them. */
async function doomed(): Promise<{ child: ChildProcess; visitor: net.Socket; target: net.Socket }> {
  const targets = net.createServer({ allowHalfOpen: true });
  const came = once(targets, 'connection');
  const child = fork(new URL('./doomed.ts', import.meta.url), [String(await listen(targets, cleanup))]);
  cleanup.add(child, () => child.kill('SIGKILL'));
  const [port] = (await once(child, 'message')) as [number];
  const visitor = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  cleanup.add(visitor, () => visitor.destroy());
  const [target] = (await came) as [net.Socket];
  cleanup.add(target, () => target.destroy());
  for (const socket of [visitor, target]) socket.on('error', () => {}); // whoever waits for one listens as well
  return { child, visitor, target };
}

describe('a process that is killed', () => {
  it.runIf(linux)('resets whoever was in the middle of something, on either side', async () => {
    const { child, visitor, target } = await doomed();
    const ends = Promise.all([endOf(visitor), endOf(target)]);
    target.write('some of it');
    await pause(LIVED_MS);
    child.kill('SIGKILL');
    expect(await ends).toEqual(['ECONNRESET', 'ECONNRESET']);
  });

  it.runIf(linux)('takes nothing back of a direction that had ended before', async () => {
    const { child, visitor, target } = await doomed();
    const ended = once(child, 'message');
    await pause(LIVED_MS);
    target.end(Buffer.alloc(FITS));
    await ended;
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect((await readAll(visitor)).length).toBe(FITS);
  });
});

describe('what ends in order after a while', () => {
  it.each(['the visitor last', 'the device last', 'both at once'])('is not cut short: %s', async (order) => {
    const { server, client } = await transferPair(cleanup);
    const [visitor, target] = [await tcpPair(cleanup), await tcpPair(cleanup)];
    const settled = Promise.all([server.splice(visitor.inside), client.splice(target.inside)]);
    await pause(LIVED_MS);
    const ends = { visitor: visitor.outside, target: target.outside };
    const got = async (socket: net.Socket): Promise<number> => {
      await pause(100); // everything is in the system's buffers by then, and what reads has nothing left to ask for
      return (await readAll(socket)).length;
    };
    const first = order === 'the visitor last' ? ends.target : ends.visitor;
    const last = first === ends.target ? ends.visitor : ends.target;
    first.end(Buffer.alloc(BYTES));
    if (order === 'both at once') last.end(Buffer.alloc(BYTES));
    expect(await got(last)).toBe(BYTES);
    if (order !== 'both at once') last.end(Buffer.alloc(BYTES));
    expect(await got(first)).toBe(BYTES);
    const results = await settled;
    expect(results.map(({ outcome }) => outcome)).toEqual(['ok', 'ok']);
    await until('they are closed', () => visitor.inside.destroyed && target.inside.destroyed);
  });
});
