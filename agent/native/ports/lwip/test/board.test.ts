import { readFileSync } from 'node:fs';
import net from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../../../../../test/e2e/support.ts';
import { type Stack, startStack } from '../../../../../test/harness/system.ts';
import { buildFirmware, type Firmware } from '../build.ts';
import { Board } from './qemu.ts';

const RAM = 64 * 1024;
const PATTERN = Buffer.from(Array.from({ length: 100_000 }, (_, n) => (n * 31 + Math.floor(n / 256)) & 0xff));

let firmware: Firmware;
let stack: Stack;
let board: Board;
let host: string;
let token: string;

beforeAll(async () => {
  firmware = await buildFirmware();
  stack = await startStack();
  token = await stack.addDevice('sensor');
  board = start();
  await board.says('ready');
  host = await hostOf('sensor');
}, 400_000);
afterAll(async () => {
  await board?.stop();
  await stack?.stop();
});

function start(settings: Record<string, string> = {}): Board {
  return new Board(firmware.elf, { server: `10.0.2.2:${new URL(stack.info.edge).port}`, name: 'sensor', token, ...settings });
}

async function hostOf(name: string): Promise<string> {
  const { body } = await stack.admin('GET', `/v1/devices/${name}`);
  const [endpoint] = (body as { endpoints: { url: string }[] }).endpoints;
  return new URL(endpoint?.url ?? '').hostname;
}

const page = (path: string) => stack.fetchHost(host, path);
const count = async () => Number(/id="count">(\d+)</.exec((await page('/')).body)?.[1]);

/** The bytes of an answer's body, read by a visitor that pauses for a while in between. */
function slowGet(path: string, pauseMs: number): Promise<Buffer> {
  const { port } = new URL(stack.info.edge);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = net.connect(Number(port), '127.0.0.1');
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    socket.setTimeout(60_000, () => socket.destroy(new Error('nothing came for 60 s')));
    socket.once('data', () => {
      socket.pause();
      setTimeout(() => socket.resume(), pauseMs);
    });
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => {
      const all = Buffer.concat(chunks);
      resolve(all.subarray(all.indexOf('\r\n\r\n') + 4));
    });
  });
}

it('fits into 64 KiB of RAM, by what the linker counts and by the map', () => {
  const map = readFileSync(firmware.elf.replace(/\.elf$/, '.map'), 'latin1');
  const symbol = (name: string): number => Number(new RegExp(`(0x[0-9a-f]+)\\s+${name} = `).exec(map)?.[1]);
  expect(symbol('_stack_end') - symbol('_data_start')).toBe(firmware.ram);
  expect(firmware.ram).toBeLessThanOrEqual(RAM);
  expect(map).not.toMatch(/\b_?malloc_r?\b/);
});

it('serves a page by its name, with a counter that goes on', async () => {
  const first = await page('/');
  expect(first.status).toBe(200);
  expect(first.body).toContain('Hello from a microcontroller');
  const counted = await count();
  await until('the counter', async () => ((await count()) > counted ? true : undefined));
  expect((await page('/nothing')).status).toBe(404);
});

it('serves four visitors at once, each byte right, and others wait for their turn', async () => {
  const bodies = await Promise.all(Array.from({ length: 8 }, () => slowGet('/pattern', 0)));
  for (const body of bodies) expect(body.equals(PATTERN), `${body.length} bytes: ${body.toString('latin1', 0, 200)}`).toBe(true);
});

it('a visitor that does not read holds up nobody, and gets every byte later', async () => {
  const slow = slowGet('/pattern', 4_000);
  for (let visit = 0; visit < 5; visit += 1) expect((await page('/')).status).toBe(200);
  expect((await slow).equals(PATTERN)).toBe(true);
});

it('comes back under its name when its ws-ingress is killed, and serves on', async () => {
  const ingress = stack.info.services.find(({ name }) => name === 'ws-ingress');
  process.kill(ingress?.pid ?? 0, 'SIGKILL');
  await board.says('ready again', 1, 60_000);
  await until('the page', async () => ((await page('/')).status === 200 ? true : undefined), 30_000);
  expect(await hostOf('sensor')).toBe(host);
});

it('has memory to spare after all that, measured on the board', async () => {
  const figures = JSON.parse((await page('/ram')).body) as Record<string, number>;
  console.log(`microcontroller: flash ${firmware.flash}, RAM ${firmware.ram}`, figures);
  expect(figures.reserved).toBe(firmware.ram);
  expect(figures.stack_used).toBeLessThan(6 * 1024 - 512);
  expect(figures.pool_errors).toBe(0);
});

it('is refused with a wrong token, says so, and does not stop trying', async () => {
  const wrong = start({ token: 'wrong' });
  try {
    await wrong.says('unauthorized');
  } finally {
    await wrong.stop();
  }
});

it('stops with the name of a setting that is missing', async () => {
  const unset = new Board(firmware.elf, { server: '10.0.2.2:1', token: 'x' });
  try {
    await unset.says('name\r\nstopped:\r\nthis setting is missing or too long');
  } finally {
    await unset.stop();
  }
});
