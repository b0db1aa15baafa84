import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { afterAll, describe, expect, it } from 'vitest';
import { Pace, Transfer } from '../src/index.ts';

const open: net.Server[] = [];
afterAll(() => {
  for (const server of open) server.close();
});

/** Two ends of a TCP connection. */
async function pair(): Promise<[net.Socket, net.Socket]> {
  const server = net.createServer({ allowHalfOpen: true });
  open.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const far = net.connect({ port: (server.address() as net.AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [near] = (await once(server, 'connection')) as [net.Socket];
  await once(far, 'connect');
  return [near, far];
}

/** Visitor and local target, joined by two transfers; only the listener's side is paced. */
async function joined(pace: Pace): Promise<{ visitor: net.Socket; target: net.Socket; done: Promise<{ outcome: string }> }> {
  const [serverWs, clientWs] = await pair();
  const [listenerSide, visitor] = await pair();
  const [agentSide, target] = await pair();
  const server = new Transfer(serverWs, { role: 'server' });
  const client = new Transfer(clientWs, { role: 'client' });
  void client.splice(agentSide);
  return { visitor, target, done: server.splice(listenerSide, { pace }) };
}

async function bytesOf(socket: net.Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

describe('a pace', () => {
  it('slows both directions down together, and loses no byte', async () => {
    const payload = randomBytes(150_000);
    const { visitor, target, done } = await joined(new Pace(200_000));
    const startedAt = performance.now();
    visitor.end(payload);
    target.end(payload);
    const [up, down] = await Promise.all([bytesOf(target), bytesOf(visitor)]);
    expect([up.equals(payload), down.equals(payload)]).toEqual([true, true]);
    expect((await done).outcome).toBe('ok');
    expect(performance.now() - startedAt).toBeGreaterThan(1_200); // 300 kB and their frames at 200 kB/s, less the first share
  });

  it('can be lifted while a transfer waits for it', async () => {
    const payload = randomBytes(2_000_000);
    const pace = new Pace(1_024);
    const { visitor, target, done } = await joined(pace);
    const got = bytesOf(target);
    target.end();
    visitor.end(payload);
    await new Promise((seen) => target.once('readable', seen));
    pace.bytesPerSecond = Number.POSITIVE_INFINITY;
    expect((await got).equals(payload)).toBe(true);
    visitor.resume();
    expect((await done).outcome).toBe('ok');
  });

  it('counts what was read too early, and lets nobody wait without a limit', () => {
    let now = 0;
    const pace = new Pace(1_000, () => now);
    const reader = { update: () => {} };
    expect([pace.share, pace.holds(reader)]).toEqual([256, false]);
    pace.spend(1_256);
    expect(pace.holds(reader)).toBe(true);
    pace.bytesPerSecond = Number.POSITIVE_INFINITY;
    now = 1;
    expect(pace.holds(reader)).toBe(false);
  });
});
