import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { encodeInline, inlineData } from '@culvert/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, type ServiceProcess } from '../../../test/harness/service.ts';
import { RawDevice, World } from './world.ts';

const LISTENER = 'tcp-listener-1';
const PER_DEVICE = 3;

let world: World;
let ingress: ServiceProcess;
let at: { host: string; port: number };
/** A listener that takes connections and says nothing, so that what is opened there stays open. */
let silent: Server;
const sockets = new Set<Socket>();
let serial = 0;

beforeAll(async () => {
  world = await World.start();
  ingress = await world.startIngress({
    CULVERT_LIMIT_INLINE_PER_DEVICE: String(PER_DEVICE),
    CULVERT_LIMIT_INLINE_PER_INGRESS: '2',
    CULVERT_LIMIT_CLOSE_MS: '300',
  });
  at = await world.addressOf();
  silent = createServer((socket) => sockets.add(socket.on('error', () => {}).resume()));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as { port: number };
  await redisSet(`instance:${LISTENER}`, JSON.stringify({ id: LISTENER, service: 'tcp-listener', address: `127.0.0.1:${port}` }));
});
afterAll(async () => {
  await ingress?.stop();
  for (const socket of sockets) socket.destroy();
  silent?.close();
  await world?.stop();
});

async function redisSet(key: string, value: string): Promise<void> {
  const socket = connect(world.redis.port, '127.0.0.1');
  socket.write(`*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${value.length}\r\n${value}\r\n`);
  await once(socket, 'data');
  socket.destroy();
}

/** A device with inline transfers, and the payloads of the binary messages that it got. */
async function ready(
  query = `&inline=${PER_DEVICE}`,
): Promise<{ name: string; device: RawDevice; got: string[]; epoch: number }> {
  serial += 1;
  const name = `inline-${serial}`;
  const device = new RawDevice(at, `name=${name}&ports=tcp:22${query}`);
  const got: string[] = [];
  device.ws.removeAllListeners('message');
  device.ws.on('message', (data: Buffer, isBinary) => {
    if (isBinary) got.push(data.toString('hex'));
    else device.messages.push(JSON.parse(data.toString()) as Record<string, unknown>);
  });
  const { epoch } = await device.message('ready');
  return { name, device, got, epoch: epoch as number };
}
const open = (channel: number, path: string, credit = 1_000): Record<string, unknown> => ({
  type: 'open',
  channel,
  path,
  credit,
});
const closeOf = (channel: number, code: number): string => encodeInline({ kind: 'close', channel, code }).toString('hex');
const pathOf = (id: string): string => `/v1/transfer/${LISTENER}/${id}`;

describe('inline transfers', () => {
  it('are granted up to the limit, and not to those who do not ask', async () => {
    const greedy = await ready('&inline=64');
    expect(await greedy.device.message('ready')).toMatchObject({ inline: PER_DEVICE });
    const modest = await ready('');
    expect(await modest.device.message('ready')).not.toHaveProperty('inline');
    modest.device.ws.send(Buffer.from('00000061', 'hex'));
    expect(await modest.device.end()).toMatchObject({ code: 4400 });
    greedy.device.ws.close(1000);
  });

  it('to nowhere are closed with the reason, and their channel is free again', async () => {
    const { device, got } = await ready();
    device.send(open(0, '/v1/transfer/tcp-listener-9/abc'));
    await eventually('CLOSE 4503', () => got.includes(closeOf(0, 4503)) || undefined);
    device.ws.send(encodeInline({ kind: 'close', channel: 0, code: 1000 }));
    device.send(open(0, '/v1/transfer/tcp-listener-1?warm=1'));
    await eventually('CLOSE 4404', () => got.includes(closeOf(0, 4404)) || undefined);
    expect(device.closed).toBeUndefined();
    device.ws.close(1000);
  });

  it('beyond what the process carries are closed as busy, and the visitor is told at once', async () => {
    const { name, device, got, epoch } = await ready();
    for (const [channel, id] of ['a', 'b', 'c'].entries()) {
      const dial = { device: name, epoch, id, port: 22, path: pathOf(id), visitor: '', listener: LISTENER };
      expect(await world.bus.requestOf('ws-ingress-1', 'ingress.dial', dial)).toEqual({ ok: true });
      device.send(open(channel, pathOf(id)));
    }
    await eventually('CLOSE 4423', () => got.includes(closeOf(2, 4423)) || undefined);
    expect(await eventually('refused', () => world.refused.find((refused) => refused.id === 'c'))).toMatchObject({
      code: 'busy',
    });
    expect(got).toEqual([closeOf(2, 4423)]);
    device.ws.terminate();
    await eventually(
      'the connections to the listener are given up',
      () => [...sockets].every((socket) => socket.destroyed) || undefined,
    );
  });

  it.each<[what: string, bytes: Buffer, code: number]>([
    ['data without credit', Buffer.concat([inlineData(0, 1)]), 4400],
    ['a channel that is not open', encodeInline({ kind: 'end', channel: 1 }), 4400],
    ['a channel that was not granted', encodeInline({ kind: 'end', channel: PER_DEVICE }), 4400],
    ['an unknown kind', Buffer.from('000009', 'hex'), 4400],
    ['a message that is too short', Buffer.from('0000', 'hex'), 4400],
    ['a message that is too long', Buffer.alloc(16_388), 1009],
  ])('end the control connection at %s', async (_what, bytes, code) => {
    const { device } = await ready();
    device.send(open(0, pathOf('pending')));
    device.ws.send(bytes);
    expect(await device.end()).toMatchObject({ code });
  });

  it('end the control connection when a channel is opened twice', async () => {
    const { device } = await ready();
    device.send(open(0, pathOf('twice')));
    device.send(open(0, pathOf('again')));
    expect(await device.end()).toMatchObject({ code: 4400 });
  });
});
