import { afterAll, beforeAll, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { type Stack, startStack } from '../harness/system.ts';
import { until } from './support.ts';

const DEVICES = 500;
let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ env: { CULVERT_GRACE: '3s' }, tcpPorts: DEVICES + 100 });
});
afterAll(() => stack?.stop());

/** The sum of a gauge over all instances of a service. */
async function gauge(service: string, metric: string): Promise<number> {
  let sum = 0;
  for (const { health } of stack.info.services.filter(({ name }) => name === service)) {
    const text = await (await fetch(health.replace('/healthz', '/metrics'))).text();
    for (const line of text.split('\n'))
      if (line.startsWith(metric) && !line.startsWith('#')) sum += Number(line.split(' ').at(-1));
  }
  return sum;
}

it(`connects ${DEVICES} devices at once, and leaves no connection behind when they go`, async () => {
  const admin = stack.info.admin;
  const headers = { authorization: `Bearer ${stack.info.adminToken}`, 'content-type': 'application/json' };
  const names = Array.from({ length: DEVICES }, (_, at) => `fleet-${at}`);
  const tokens = await Promise.all(
    names.map(async (name) => {
      const answer = await fetch(new URL('/v1/devices', admin), { method: 'POST', headers, body: JSON.stringify({ name }) });
      return ((await answer.json()) as { token: string }).token;
    }),
  );
  const { port } = new URL(stack.info.edge);
  const epochs = new Set<number>();
  const ports = new Set<number>();
  /** On a busy machine some find no turn in time: they are told when to come back, as any device is. */
  const retryUntil = Date.now() + 40_000;
  const connect = (name: string, token: string | undefined): Promise<WebSocket> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/control?name=${name}&ports=tcp:22`, 'culvert.v1', {
        headers: { authorization: `Bearer ${token}` },
      });
      socket.on('message', (data: Buffer) => {
        const message = JSON.parse(data.toString());
        if (message.type === 'endpoint') ports.add(message.public_port);
        if (message.type === 'ready') {
          epochs.add(message.epoch);
          resolve(socket);
        }
      });
      socket.on('error', reject);
      socket.on('unexpected-response', (request, { statusCode, headers }) => {
        request.destroy();
        const seconds = Number(headers['retry-after']);
        if (statusCode !== 503 || !(seconds > 0) || Date.now() > retryUntil) reject(new Error(`${name}: ${statusCode}`));
        else setTimeout(() => connect(name, token).then(resolve, reject), seconds * 1000);
      });
    });
  const sockets = await Promise.all(names.map((name, at) => connect(name, tokens[at])));
  expect(sockets).toHaveLength(DEVICES);
  expect(ports.size).toBe(DEVICES);
  expect(await gauge('ws-ingress', 'culvert_control_connections')).toBe(DEVICES);
  for (const socket of sockets) socket.close(1000);
  await until(
    'no control connection is left',
    async () => ((await gauge('ws-ingress', 'culvert_control_connections')) === 0 ? true : undefined),
    20_000,
  );
  await until(
    'no public port is left',
    async () => ((await gauge('tcp-listener', 'culvert_public_ports')) === 0 ? true : undefined),
    30_000,
  );
}, 120_000);
