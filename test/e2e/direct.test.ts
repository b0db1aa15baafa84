import net from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freePort } from '../harness/servers.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, type Target } from '../harness/targets.ts';
import { tcpVisitor, until } from './support.ts';

let stack: Stack;
let tcp: Target;
let agent: RunningAgent;
/** Stands for the published address of the listener; what comes here was dialled directly. */
let published: net.Server;
const heads: string[] = [];
const sockets = new Set<net.Socket>();

beforeAll(async () => {
  const edgePort = await freePort();
  published = net.createServer((socket) => {
    const onward = net.connect(edgePort, '127.0.0.1');
    sockets.add(socket).add(onward);
    socket.once('data', (head: Buffer) => heads.push(head.toString('latin1')));
    socket.pipe(onward).pipe(socket);
    for (const one of [socket, onward])
      one.on('error', () => {}).on('close', () => [socket, onward].map((each) => each.destroy()));
  });
  await new Promise<void>((done) => published.listen(0, '127.0.0.1', done));
  const { port } = published.address() as net.AddressInfo;
  // The launcher hands it on to the listener.
  stack = await startStack({ env: { CULVERT_PORT: String(edgePort), CULVERT_TRANSFER_URL: `ws://127.0.0.1:${port}` } });
  tcp = await startTcpTarget(echo);
  agent = await stack.runAgent({
    name: 'direct',
    token: await stack.addDevice('direct'),
    mappings: [`tcp:7=127.0.0.1:${tcp.port}`],
  });
});
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  await tcp?.close();
  for (const socket of sockets) socket.destroy();
  published?.close();
});

const visit = async (text: string): Promise<string> =>
  (await tcpVisitor(agent.endpoint(7).public_port as number, text)).data.toString();

it('transfers are dialled past the edge with a key of their own, warm ones too, and through the edge when that fails', async () => {
  expect(await visit('first')).toBe('first');
  expect(heads[0]).toMatch(/^GET \/v1\/transfer\/tcp-listener-1\/[\w-]+ HTTP\/1\.1\r\n/);
  await until('the warm ones', () => (heads.filter((head) => head.includes('?warm=1')).length >= 4 ? true : undefined));
  const keys = new Set(heads.map((head) => /authorization: bearer (\S+)/i.exec(head)?.[1]));
  expect(keys.size).toBe(1);
  expect([...keys][0]).toMatch(/^[\w-]{43}$/); // not the device token

  published.close();
  for (const socket of sockets) socket.destroy();
  for (let count = 0; count < 10; count += 1) expect(await visit(`visitor ${count}`)).toBe(`visitor ${count}`);
});
