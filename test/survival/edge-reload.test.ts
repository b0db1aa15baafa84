import net from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { BUILD_MS, builtAgent } from '../../agent/native/test/build.ts';
import { installSystemPackages } from '../../deploy/local/bin/system.mjs';
import { type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { Pages } from '../upgrade/pages.ts';

const WIND_DOWN_MS = 6_000;
const STAY_MS = 500;
const KNOCKING = 4;

let inC: string;
let stack: Stack;
let web: Target;
let echoes: Target;
let pages: Pages;

beforeAll(async () => {
  await installSystemPackages(['native']);
  inC = await builtAgent();
  stack = await startStack({
    env: {
      CULVERT_REPLICAS: 'ws-ingress=2,tcp-listener=2',
      CULVERT_LIMIT_WIND_DOWN_MS: String(WIND_DOWN_MS),
      CULVERT_LIMIT_INSTANCE_RENEW_MS: '500',
      CULVERT_LIMIT_INSTANCE_TTL_MS: '2000',
    },
  });
  [web, echoes] = await Promise.all([startWebTarget(), startTcpTarget(echo)]);
  pages = new Pages(stack.info.edge);
}, BUILD_MS + 120_000);
afterAll(async () => {
  await pages?.stop();
  await stack?.stop();
  await Promise.all([web?.close(), echoes?.close()]);
});

/** One visitor after the other at a public port, each of whom stays a while; answers what went wrong. */
async function knock(port: number, goesOn: () => boolean): Promise<string[]> {
  const faults: string[] = [];
  while (goesOn()) {
    const fault = await new Promise<string | undefined>((resolve) => {
      const socket = net.connect({ port, host: '127.0.0.1' }, () => {
        socket.write('anybody ');
        setTimeout(() => socket.end('there?'), STAY_MS);
      });
      let text = '';
      socket.setTimeout(10_000, () => socket.destroy(new Error('silent for 10 s')));
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      socket.once('error', (error) => resolve(`${new Date().toISOString()} ${error.message}`));
      socket.once('close', () => resolve(text === 'anybody there?' ? undefined : `${new Date().toISOString()} got "${text}"`));
    });
    if (fault !== undefined) faults.push(fault);
    await new Promise((done) => setTimeout(done, 20));
  }
  return faults;
}

it('a reload of the edge costs no visitor and no device anything, even when the former workers end', async () => {
  const ports: number[] = [];
  for (const [name, program] of [['in-typescript'], ['in-c', [inC]]] as [string, string[]?][]) {
    const mappings = [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${echoes.port}`];
    const agent = await stack.runAgent({
      name,
      token: await stack.addDevice(name),
      mappings,
      ...(program === undefined ? {} : { program }),
    });
    pages.visit(new URL(agent.endpoint(80).url as string).host);
    ports.push(agent.endpoint(7).public_port as number);
  }
  const until = performance.now() + WIND_DOWN_MS * 3;
  const knocking = ports.flatMap((port) => Array.from({ length: KNOCKING }, () => knock(port, () => performance.now() < until)));
  await new Promise((done) => setTimeout(done, WIND_DOWN_MS / 2)); // warm transfers wait, and are used
  const told = await stack.storedEvents('CULVERT_EVENTS', 'device.*.*');
  process.kill(stack.info.nginx.pid, 'SIGHUP');
  const before = pages.served;
  expect((await Promise.all(knocking)).flat()).toEqual([]);
  await pages.stop();
  expect(pages.faults).toEqual([]);
  expect(pages.served - before).toBeGreaterThan(100);
  const later = (await stack.storedEvents('CULVERT_EVENTS', 'device.*.*')).slice(told.length);
  const summary = later.map(({ type, subject, data }) => `${type} ${subject} ${(data as { reason: string }).reason}`);
  expect(summary.sort()).toEqual(['device.connected in-c moved', 'device.connected in-typescript moved']);
}, 120_000);
