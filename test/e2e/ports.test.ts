import { readFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { type CulvertEventLike, type EventReader, type Stack, startStack } from '../harness/system.ts';
import { until } from './support.ts';

const PORTS = 8;
const COOL_DOWN_MS = 4_000;

let stack: Stack;
let first: number;
let open: WebSocket[];
let foreign: net.Server[];
let readers: EventReader[];

beforeAll(async () => {
  stack = await startStack({
    tcpPorts: PORTS,
    env: {
      CULVERT_GRACE: '300ms',
      CULVERT_LIMIT_RECONNECTING_MS: '0',
      CULVERT_LIMIT_COOL_DOWN_MS: String(COOL_DOWN_MS),
      // What the edge remembers must be shorter than the cool-down.
      CULVERT_LIMIT_ROUTE_STALE_MS: '1s',
      CULVERT_LIMIT_EDGE_KEEPALIVE_MS: '500',
    },
  });
  first = Number(JSON.parse(readFileSync(join(stack.stateDir, 'memory.json'), 'utf8')).split.listeners['tcp-listener-1'][0]);
});
afterAll(() => stack?.stop());
beforeEach(() => {
  open = [];
  foreign = [];
  readers = [];
});
afterEach(async () => {
  for (const socket of open) socket.close();
  for (const reader of readers) await reader.close();
  for (const server of foreign) server.close();
});

type Answer = { socket: WebSocket; ports: number[] } | { status: number; retryAfter: string | undefined; code: string };

/** One handshake of a device that asks for so many tcp ports. */
async function connect(name: string, token: string, count = 1): Promise<Answer> {
  const ports = Array.from({ length: count }, (_, at) => `tcp:${1000 + at}`).join(',');
  const { port } = new URL(stack.info.edge);
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/control?name=${name}&ports=${ports}`, 'culvert.v1', {
    headers: { authorization: `Bearer ${token}` },
  });
  open.push(socket);
  return new Promise((resolve, reject) => {
    const got: number[] = [];
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString());
      if (message.type === 'endpoint') got.push(message.public_port);
      if (message.type === 'ready') resolve({ socket, ports: got });
    });
    socket.on('error', reject);
    socket.on('unexpected-response', (_request, response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'], code: JSON.parse(body).code });
      });
    });
  });
}

/** Ports of the test before are cooling down: tries until there are enough. */
async function granted(name: string, count = 1): Promise<{ socket: WebSocket; ports: number[] }> {
  const token = await stack.addDevice(name);
  return until(`${name} is granted ${count} ports`, async () => {
    const answer = await connect(name, token, count);
    return 'ports' in answer ? answer : undefined;
  });
}

async function follow(subject: string): Promise<EventReader> {
  const reader = await stack.events(subject);
  readers.push(reader);
  return reader;
}

async function metric(service: string, name: string): Promise<number> {
  const { health } = stack.info.services.find((one) => one.name === service) ?? { health: '' };
  const text = await (await fetch(health.replace('/healthz', '/metrics'))).text();
  const line = text.split('\n').find((one) => one.startsWith(name) && !one.startsWith('#'));
  return Number(line?.split(' ').at(-1) ?? 0);
}

const refusal = { status: 503, code: 'ports_exhausted', retryAfter: expect.stringMatching(/^[1-9][0-9]*$/) };
const timeOf = (event: CulvertEventLike): number => Date.parse(event.time);

describe('public ports', () => {
  it('fit exactly as many leases as there are; the next device is told to wait, and an event says so', async () => {
    const exhausted = await follow('ports.exhausted.*');
    const three = await Promise.all(['a', 'b'].map((name) => granted(name, 3)));
    const late = await stack.addDevice('late');
    // Two are left: three do not fit, and the attempt takes none of the two.
    expect(await connect('late', late, 3)).toMatchObject(refusal);
    expect((await exhausted.next()).data).toMatchObject({
      listener: 'tcp-listener-1',
      device: 'late',
      reason: 'ports_exhausted',
    });
    const two = await Promise.all(['c', 'd'].map((name) => granted(name)));
    const all = [...three, ...two].flatMap(({ ports }) => ports);
    expect(all.toSorted()).toEqual(Array.from({ length: PORTS }, (_, at) => first + at));
    expect(await connect('late', late)).toMatchObject(refusal);
    expect(await connect('late', late)).toMatchObject(refusal);
    expect(await metric('tcp-listener', 'culvert_public_ports_open')).toBe(PORTS);
  });

  it('are given out again only after the cool-down', async () => {
    const gone = await granted('gone', PORTS);
    const events = await follow('lease.*.*');
    const next = await stack.addDevice('next');
    gone.socket.close();
    let expired: CulvertEventLike;
    do expired = await events.next();
    while (expired.type !== 'lease.expired');
    expect(await connect('next', next)).toMatchObject(refusal);
    await until('a port is free', async () => ('ports' in (await connect('next', next)) ? true : undefined));
    // By the store's own clock.
    const grant = await events.next();
    expect(grant).toMatchObject({ type: 'lease.granted', subject: 'next' });
    expect(timeOf(grant) - timeOf(expired)).toBeGreaterThanOrEqual(COOL_DOWN_MS);
  });

  it('that another program holds are passed over and reported', async () => {
    const held = [first, first + 3];
    // Once somebody has had them all, all are free at the same time, and none is open.
    (await granted('all', PORTS)).socket.close();
    await until('no public port is open', async () =>
      (await metric('tcp-listener', 'culvert_public_ports_open')) === 0 ? true : undefined,
    );
    for (const port of held) {
      const server = net.createServer().listen(port, '::');
      await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject));
      foreign.push(server);
    }
    const devices = [];
    for (let at = 0; at < PORTS - held.length; at += 1) devices.push(await granted(`device-${at}`));
    const ports = devices.flatMap((device) => device.ports);
    expect(new Set(ports).size).toBe(PORTS - held.length);
    for (const port of held) expect(ports).not.toContain(port);
    expect(await connect('later', await stack.addDevice('later'))).toMatchObject(refusal);
    expect(await metric('lease-manager', 'culvert_ports_unusable_total')).toBeGreaterThanOrEqual(held.length);
    const log = readFileSync(join(stack.stateDir, 'logs', 'lease-manager-1.log'), 'utf8');
    for (const port of held) expect(log).toMatch(new RegExp(`"ports\\.unusable"[^\\n]*\\b${port}\\b`));
  });
});
