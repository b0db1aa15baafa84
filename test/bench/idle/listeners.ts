import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import type { Stack } from '../../harness/system.ts';

/** Ports of one tcp-listener: descriptors enough remain for the rest. */
export const PORTS_EACH = 15_000;
const SPARE_PORTS = 200;
const FIRST_PORT = 1_100;
const START_MS = 60_000;

/** Public ports of the stack's own listener, which has all addresses, when so many devices come. */
export const ownPorts = (devices: number): string => `${FIRST_PORT}-${FIRST_PORT + Math.min(devices, PORTS_EACH) + SPARE_PORTS}`;

/**
 * Listeners beside the stack's own one, as on other machines: each has an address of its own, 127.0.0.2 and on, and the same
 * ports. Below the private ports of a stack there are not enough for 38,000 devices at one address.
 */
export async function startMore(stack: Stack, count: number): Promise<ChildProcess[]> {
  const own = stack.info.services.find(({ name }) => name === 'tcp-listener');
  const [program = '', ...args] = readZeroed(`/proc/${own?.pid}/cmdline`);
  const env = Object.fromEntries(readZeroed(`/proc/${own?.pid}/environ`).map((pair) => pair.split(/=(.*)/s).slice(0, 2)));
  delete env.NODE_CHANNEL_FD; // its way to the launcher
  const from = FIRST_PORT + PORTS_EACH + SPARE_PORTS + 1;
  const children = Array.from({ length: count }, (_, index) => {
    const special = {
      CULVERT_INSTANCE_ID: `tcp-listener-${index + 2}`,
      CULVERT_TCP_HOST: `127.0.0.${index + 2}`,
      CULVERT_TCP_PORTS: `${from}-${from + PORTS_EACH - SPARE_PORTS}`,
    };
    return spawn(program, args, { stdio: 'ignore', env: { ...env, ...special } });
  });
  const redis = new Redis(stack.info.redis.address);
  const until = Date.now() + START_MS;
  while ((await redis.zcard('instance:index:tcp-listener')) < count + 1) {
    if (Date.now() > until) throw new Error(`${count} more listeners did not start within ${START_MS / 1000} s`);
    await new Promise((done) => setTimeout(done, 100));
  }
  redis.disconnect();
  return children;
}

const readZeroed = (file: string): string[] => readFileSync(file, 'utf8').split('\0').slice(0, -1);
