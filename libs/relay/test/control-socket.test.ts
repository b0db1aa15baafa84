import type net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type ControlEnding, ControlSocket, type ControlSocketOptions, connectWebSocket } from '../src/index.ts';
import { Cleanup, limits, RawDevice, TARGET, UpgradeServer, until } from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

interface Side {
  control: ControlSocket;
  texts: string[];
  ending: ControlEnding | undefined;
}

function side(upgraded: ConstructorParameters<typeof ControlSocket>[0], options: Partial<ControlSocketOptions>): Side {
  const self: { texts: string[]; ending: ControlEnding | undefined } = { texts: [], ending: undefined };
  const control = new ControlSocket(upgraded, {
    role: 'server',
    onText: (text) => self.texts.push(text),
    onGone: (ending) => {
      self.ending = ending;
    },
    ...options,
  });
  cleanup.add(control, () => control.kill('bye'));
  return Object.assign(self, { control });
}

async function pair(options: Partial<ControlSocketOptions> = {}): Promise<{ server: Side; client: Side }> {
  const upgrades = await UpgradeServer.start(cleanup);
  const [raw, upgraded] = await Promise.all([connectWebSocket({ ...TARGET, port: upgrades.port }), upgrades.next()]);
  return { server: side(upgraded, options), client: side(raw, { role: 'client' }) };
}

async function rawPair(options: Partial<ControlSocketOptions> = {}): Promise<{ server: Side; device: RawDevice }> {
  const { device, upgraded } = await RawDevice.connect(cleanup);
  return { server: side(upgraded, options), device };
}

describe('a control socket', () => {
  it('carries messages both ways and closes in order with a code', async () => {
    const { server, client } = await pair();
    server.control.sendText('{"type":"a"}');
    client.control.sendText('{"type":"b"}');
    await until('both have come', () => server.texts.length + client.texts.length === 2);
    expect([server.texts, client.texts]).toEqual([['{"type":"b"}'], ['{"type":"a"}']]);
    server.control.close('moved');
    await until('both are gone', () => server.ending !== undefined && client.ending !== undefined);
    expect(client.ending).toEqual({ close: 4410, reason: 'moved', code: undefined });
    expect(server.ending).toEqual({ close: 4410, reason: '', code: 'moved' });
  });

  it('answers pings and notices signs of life', async () => {
    const { server, device } = await rawPair();
    const before = server.control.lastInboundAt;
    device.ping('are you there');
    await device.saw('pong are you there');
    expect(server.control.lastInboundAt).toBeGreaterThan(before);
    server.control.ping();
    await device.saw('ping');
  });

  it('tells a break from a close', async () => {
    const { server, device } = await rawPair();
    device.socket.resetAndDestroy();
    await until('it is gone', () => server.ending !== undefined);
    expect(server.ending).toEqual({ close: 1006, reason: '', code: undefined });
  });

  it('closes on binary messages and on messages over 1,024 bytes, and hands on nothing more', async () => {
    const binary = await rawPair();
    binary.device.binary('x').binary('y').message({ type: 'idle', id: 'a' });
    await binary.device.saw('close 4400 protocol_error: a binary message on a control connection');
    expect(binary.server.texts).toEqual([]);
    const long = await rawPair();
    long.device.raw(Buffer.from('81fe040100000000', 'hex'));
    await long.device.saw('close 1009 too_large');
  });

  it('destroys a peer that does not answer the close', async () => {
    const { server, device } = await rawPair({ limits: limits({ CLOSE_MS: 60 }) });
    server.control.close('revoked');
    await device.saw('close 4413 revoked');
    await until('it is gone', () => server.ending !== undefined);
    expect(server.ending?.code).toBe('revoked');
  });

  it('cuts off a peer that does not read, at the cap of its buffer or after the write deadline', async () => {
    for (const scaled of [limits({ CONTROL_BUFFER_BYTES: 20_000 }), limits({ WRITE_MS: 80, CONTROL_BUFFER_BYTES: 1 << 24 })]) {
      const { server, device } = await rawPair({ limits: scaled });
      device.socket.pause();
      const text = JSON.stringify({ type: 'x', pad: 'a'.repeat(1000) });
      await until('it is cut off', () => {
        for (let i = 0; i < 1000 && server.control.open; i++) server.control.sendText(text);
        return server.ending !== undefined;
      });
      expect(server.ending?.code).toBe('write_timeout');
    }
  });

  it('stands whatever bytes a peer sends', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const upgrades = await UpgradeServer.start(cleanup);
      const [raw, upgraded] = await Promise.all([connectWebSocket({ ...TARGET, port: upgrades.port }), upgrades.next()]);
      const self = side(upgraded, { limits: limits({ CLOSE_MS: 50 }) });
      (raw.socket as net.Socket).on('error', () => {}).resume();
      raw.socket.end(Buffer.from(Array.from({ length: 60 }, (_, i) => (seed * 7919 * (i + 1) * (i + seed)) & 0xff)));
      await until('it is gone', () => self.ending !== undefined);
    }
  });
});
