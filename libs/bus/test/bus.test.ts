import { setTimeout as sleep } from 'node:timers/promises';
import { type ServerProcess, startNats } from '@culvert/test/harness/servers.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Bus } from '../src/index.ts';

const log = { info() {}, warn() {}, error() {} };
let nats: ServerProcess;
let server: Bus;
let asker: Bus;
const connect = (name: string): Promise<Bus> =>
  Bus.connect({ url: nats.url, name, service: 'lease-manager', log, commandMs: 2_000 });
const digest = '0'.repeat(64);

beforeAll(async () => {
  nats = await startNats();
  server = await connect('lease-manager-1');
  asker = await connect('ws-ingress-1');
  await server.serve('0.1.0', {
    'device.auth': ({ device }) => {
      if (device === 'broken') throw new Error('a fault with secrets in its text');
      return device === 'alice' ? { ok: true } : { ok: false, code: 'unauthorized', message: 'unknown name' };
    },
    'device.show': () => ({ ok: true }) as never,
    'lease.get': async () => {
      await sleep(5_000, undefined, { ref: false });
      return { ok: true, lease: null };
    },
  });
  await server.serveInstance('ws-ingress-9', { 'ingress.probe': () => ({ ok: true, alive: true }) });
});
afterAll(async () => {
  await asker.close();
  await server.close();
  await nats.stop();
});

describe('commands', () => {
  it('brings the reply, refusals included', async () => {
    expect(await asker.request('device.auth', { device: 'alice', token_digest: digest })).toEqual({ ok: true });
    expect(await asker.request('device.auth', { device: 'bob', token_digest: digest })).toMatchObject({
      ok: false,
      code: 'unauthorized',
    });
    expect(await asker.requestOf('ws-ingress-9', 'ingress.probe', { device: 'alice', epoch: 1 })).toEqual({
      ok: true,
      alive: true,
    });
  });
  it('refuses to send a payload that breaks its schema, and names the field', async () => {
    await expect(asker.request('device.auth', { device: 'Alice', token_digest: digest })).rejects.toThrow(/\/device/);
  });
  it('answers a payload of a foreign sender that breaks its schema with bad_request', async () => {
    const reply = await asker.nc.request('cmd.device.auth', JSON.stringify({ device: 7 }), { timeout: 2_000 });
    expect(reply.json()).toMatchObject({ ok: false, code: 'bad_request' });
    const garbage = await asker.nc.request('cmd.device.auth', '{', { timeout: 2_000 });
    expect(garbage.json()).toMatchObject({ ok: false });
  });
  it('keeps the text of unknown errors to itself', async () => {
    const reply = await asker.request('device.auth', { device: 'broken', token_digest: digest });
    expect(reply).toEqual({ ok: false, code: 'internal', message: 'internal error' });
  });
  it('does not let a reply out that breaks its schema', async () => {
    expect(await asker.request('device.show', { device: 'alice' })).toMatchObject({ ok: false, code: 'internal' });
  });
  it('ends a command without a reply at its deadline', async () => {
    await expect(asker.request('lease.get', { device: 'alice' }, { timeoutMs: 200 })).rejects.toMatchObject({
      code: 'unavailable',
    });
  });
  it('does not believe that an instance is gone before it has been connected for a while', async () => {
    const young = await connect('young');
    await expect(
      young.requestOf('nobody', 'ingress.probe', { device: 'a', epoch: 1 }, { timeoutMs: 1_500 }),
    ).rejects.toMatchObject({ code: 'unavailable' });
    await young.close();
  });
  it('believes it afterwards', async () => {
    await expect
      .poll(
        () => asker.requestOf('nobody', 'ingress.probe', { device: 'a', epoch: 1 }, { timeoutMs: 2_500 }).catch((e) => e.code),
        { timeout: 15_000 },
      )
      .toBe('not_found');
  });
  it('shows shared commands as NATS services', async () => {
    const reply = await asker.nc.request('$SRV.INFO.lease-manager', '', { timeout: 2_000 });
    const info = reply.json<{ endpoints: { subject: string }[] }>();
    expect(info.endpoints.map(({ subject }) => subject)).toContain('cmd.device.auth');
  });
});
