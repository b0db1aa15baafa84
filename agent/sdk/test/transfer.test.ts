import { createHash, randomBytes } from 'node:crypto';
import { Socket } from 'node:net';
import { LIMITS } from '@culvert/contracts';
import { describe, expect, it } from 'vitest';
import { echo, type Happened, happened, serve, start, target, until } from './kit.ts';
import type { Peer, TestControl, TestServer } from './server.ts';
import { growWithVisitors } from './warm.ts';

interface Scene {
  server: TestServer;
  control: TestControl;
  events: Happened[];
  agent: ReturnType<typeof start>['agent'];
}

/** An agent that offers tcp:7 and leads it to the port. */
async function scene(targetPort: number, options: Partial<Parameters<typeof start>[0]> = {}, host = '127.0.0.1'): Promise<Scene> {
  const server = await serve();
  const mappings = [{ port: 7, scheme: 'tcp' as const, target: { host, port: targetPort } }];
  const { events, agent } = start({ servers: [server.url], mappings, ...options });
  const control = await server.control(0);
  await happened(events, 'ready');
  return { server, control, events, agent };
}

/** The socket that the agent, which runs in this process, has of a transfer: nothing else tells how much waits in it. */
function agentsEnd({ remotePort }: Peer): Socket {
  const { _getActiveHandles } = process as unknown as { _getActiveHandles(): object[] };
  const found = _getActiveHandles().find((handle) => handle instanceof Socket && handle.localPort === remotePort);
  if (found === undefined) throw new Error(`no socket of this process is bound to port ${remotePort}`);
  return found as Socket;
}

const text = (peer: Peer) => peer.received.toString();

describe('a transfer', () => {
  it('carries bytes both ways and closes in order once both directions have ended', async () => {
    const { server, control, events } = await scene(await target(echo));
    const peer = await server.transfer(control, 7);
    peer.send('hello ');
    peer.send('visitor');
    await until('the echo', () => text(peer) === 'hello visitor');
    expect(peer.ended).toBe(false);
    peer.end();
    await until('its END', () => peer.ended);
    await until('the close', () => peer.closed);
    expect(peer.closed?.code).toBe(1000);
    expect(await happened(events, 'transfer')).toMatchObject({ port: 7, outcome: 'ok', toDevice: 13, toVisitor: 13 });
  });

  it('is dialled with the token, on the path of the dial', async () => {
    const { server, control } = await scene(await target(echo));
    await server.transfer(control, 7);
    const handshake = server.handshakes[1];
    expect(handshake?.path).toMatch(/^\/v1\/transfer\/tcp-listener-1\/[0-9a-f]{32}$/);
    expect([...(handshake?.query.keys() ?? [])]).toEqual([]);
    expect(handshake?.headers.authorization).toBe('Bearer device-token');
  });

  it('delivers what a target says first', async () => {
    const { server, control } = await scene(await target((socket) => socket.write('220 ready\r\n')));
    const peer = await server.transfer(control, 7);
    await until('the banner', () => text(peer) === '220 ready\r\n');
  });

  it('delivers bytes and END that come right behind the handshake', async () => {
    const { server, control } = await scene(await target(echo));
    const peer = await server.transfer(control, 7);
    peer.send('early');
    peer.end();
    await until('the echo of all', () => peer.ended);
    expect(text(peer)).toBe('early');
  });

  it('lets the target go on after the visitor has ended', async () => {
    const port = await target((socket) => {
      const chunks: Buffer[] = [];
      socket.on('data', (chunk) => chunks.push(chunk));
      socket.on('end', () => socket.end(`got ${Buffer.concat(chunks).length}`));
    });
    const { server, control } = await scene(port);
    const peer = await server.transfer(control, 7);
    peer.send('12345');
    peer.end();
    await until('the answer', () => peer.ended);
    expect(text(peer)).toBe('got 5');
  });

  it('lets the visitor go on after the target has ended', async () => {
    let got = '';
    const port = await target((socket) => {
      socket.end('bye');
      socket.on('data', (chunk) => {
        got += chunk;
      });
    });
    const { server, control, events } = await scene(port);
    const peer = await server.transfer(control, 7);
    await until('the END of the target', () => peer.ended);
    peer.send('still here');
    await until('the bytes', () => got === 'still here');
    peer.end();
    expect(await happened(events, 'transfer')).toMatchObject({ outcome: 'ok', toDevice: 10, toVisitor: 3 });
  });

  it('carries 8 MiB of random bytes both ways unchanged, in frames that a server takes', async () => {
    const { server, control } = await scene(await target(echo));
    const peer = await server.transfer(control, 7);
    let largest = 0;
    peer.socket.on('message', (data: Buffer) => {
      largest = Math.max(largest, data.length);
    });
    const sent = createHash('sha256');
    for (let i = 0; i < 128; i++) {
      const chunk = randomBytes(64 << 10);
      sent.update(chunk);
      peer.send(chunk);
    }
    peer.end();
    await until('the END', () => peer.ended);
    expect(createHash('sha256').update(peer.received).digest('hex')).toBe(sent.digest('hex'));
    expect(largest).toBeLessThanOrEqual(LIMITS.MAX_FRAME_BYTES.max);
  });

  it('runs beside 63 others', async () => {
    const { server, control, events } = await scene(await target(echo));
    const peers = await Promise.all(Array.from({ length: 64 }, () => server.transfer(control, 7)));
    for (const [i, peer] of peers.entries()) peer.send(`visitor ${i}`);
    await until('all echoes', () => peers.every((peer, i) => text(peer) === `visitor ${i}`));
    for (const peer of peers) peer.end();
    await happened(events, 'transfer', 63);
    expect(events.filter(({ event, outcome }) => event === 'transfer' && outcome === 'ok')).toHaveLength(64);
  });

  it('reaches targets over IPv6 and by name', async () => {
    const six = await scene(await target(echo, '::1'), {}, '::1');
    (await six.server.transfer(six.control, 7)).end();
    expect(await happened(six.events, 'transfer')).toMatchObject({ outcome: 'ok' });
    const named = await scene(await target(echo), {}, 'localhost'); // ::1 may be tried first, and refuses
    (await named.server.transfer(named.control, 7)).end();
    expect(await happened(named.events, 'transfer')).toMatchObject({ outcome: 'ok' });
  });
});

describe('a dial', () => {
  it('is refused when the target refuses', async () => {
    const { server, control, events } = await scene(1);
    expect(await server.dial(control, 7)).toBe('local_refused');
    expect(await happened(events, 'transfer')).toMatchObject({ outcome: 'local_refused', toDevice: 0 });
  });

  it('is refused when the target has no address', async () => {
    const { server, control } = await scene(1, {}, 'no-such-host.invalid');
    expect(await server.dial(control, 7)).toBe('local_refused');
  });

  it('is refused when the target is silent', async () => {
    const { server, control } = await scene(9, { limits: { LOCAL_CONNECT_MS: 100 } }, '192.0.2.1');
    expect(await server.dial(control, 7)).toMatch(/^local_(timeout|refused)$/); // without a route, the kernel refuses at once
  });

  it('is refused for a port that was not declared', async () => {
    const { server, control } = await scene(await target(echo));
    expect(await server.dial(control, 8)).toBe('not_allowed');
  });

  it('is refused as busy beyond the cap, and not any more when one has ended', async () => {
    const { server, control, events } = await scene(await target(echo), { transfers: 1 });
    const peer = await server.transfer(control, 7);
    expect(await server.dial(control, 7)).toBe('busy');
    peer.end();
    await happened(events, 'transfer');
    expect(typeof (await server.dial(control, 7))).toBe('object');
  });

  it('whose transfer is not known any more ends without harm', async () => {
    const { server, control, events } = await scene(await target(echo));
    control.send({ type: 'dial', id: 'gone', port: 7, path: '/v1/transfer/tcp-listener-1/gone', visitor: 'v' });
    await happened(events, 'transfer');
    const peer = await server.transfer(control, 7);
    peer.send('fine');
    await until('the echo', () => text(peer) === 'fine');
  });

  it('with a path that is none of ours is not followed', async () => {
    const { server, control } = await scene(await target(echo));
    control.send({ type: 'dial', id: 'odd', port: 7, path: '/elsewhere', visitor: 'v' });
    await server.transfer(control, 7);
    expect(server.handshakes.map(({ path }) => path)).not.toContain('/elsewhere');
  });
});

it('warm transfers are kept, as many as visitors need', async () => {
  const { server, control } = await scene(await target(echo));
  await growWithVisitors(server, control);
});

describe('a transfer that breaks', () => {
  it('resets the local target when the server breaks off', async () => {
    let local: Socket | undefined;
    let broken = false;
    const port = await target((socket) => {
      local = socket;
      socket.on('close', (hadError) => {
        broken = hadError;
      });
    });
    const { server, control, events } = await scene(port);
    const peer = await server.transfer(control, 7);
    await until('the local connection', () => local);
    peer.socket.terminate();
    await until('the reset', () => broken);
    expect((await happened(events, 'transfer')).outcome).not.toBe('ok');
  });

  it('tells the server when the target resets', async () => {
    const port = await target((socket) => socket.once('data', () => socket.resetAndDestroy()));
    const { server, control, events } = await scene(port);
    const peer = await server.transfer(control, 7);
    peer.send('x');
    await until('the close', () => peer.closed);
    expect(peer.closed?.code).toBe(4430);
    expect(await happened(events, 'transfer')).toMatchObject({ outcome: 'peer_reset' });
  });

  it('does not depend on the control connection', async () => {
    const { server, control, events } = await scene(await target(echo));
    const peer = await server.transfer(control, 7);
    control.socket.terminate();
    await happened(events, 'ready', 1);
    peer.send('alive');
    await until('the echo', () => text(peer) === 'alive');
  });

  it('may finish while the agent stops, and is reset by abort', async () => {
    const { server, control, events, agent } = await scene(await target(echo));
    const [finishing, open] = [await server.transfer(control, 7), await server.transfer(control, 7)];
    const stopped = agent.stop();
    await until('the bye', () => control.closed);
    finishing.send('last words');
    finishing.end();
    expect(await happened(events, 'transfer')).toMatchObject({ outcome: 'ok', toVisitor: 10 });
    agent.abort();
    await stopped;
    await until('the other to be closed', () => open.closed);
    expect(await happened(events, 'transfer', 1)).toMatchObject({ outcome: 'wind_down' });
  });

  it('that closes behind bytes no server takes does not keep a stop', async () => {
    const limits = { WRITE_MS: 600_000, STOP_MS: 500, CLOSE_MS: 100 };
    const { server, control, events, agent } = await scene(await target((socket) => socket.end('answer')), { limits, warm: 1 });
    const waits = server.expect(''); // a warm one has no id in its path
    const dialled = await server.transfer(control, 7);
    const warm = await waits;
    warm.socket.send(JSON.stringify({ type: 'assign', id: 'a', port: 7, visitor: '192.0.2.1:5555' }));
    for (const peer of [dialled, warm]) {
      await until('the END of the target', () => peer.ended);
      const socket = agentsEnd(peer);
      peer.socket.pause();
      let stuck = 0;
      await until('the kernel to take no more pongs', () => {
        if (socket.writableLength > 0) return ++stuck === 20;
        stuck = 0;
        for (let i = 0; i < 1000; i++) peer.socket.ping('p'.repeat(125));
        return false;
      });
      peer.socket.send(Buffer.alloc(0)); // END, and no closing handshake: the library would break it off after 30 s
    }
    expect(await happened(events, 'transfer', 1)).toMatchObject({ outcome: 'ok', toVisitor: 6 });
    await agent.stop();
    for (const peer of [dialled, warm]) {
      peer.socket.resume();
      await until('the break', () => peer.closed);
      expect(peer.closed?.code).toBe(1006);
    }
  });
});
