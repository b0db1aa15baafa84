import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { TOKEN } from '../agent.ts';
import type { Bench, Item } from '../suite.ts';
import { echo } from '../targets.ts';
import { check } from '../wait.ts';
import { PORT } from './kit.ts';

/** An HTTP proxy that knows CONNECT only, and keeps what it was asked. */
async function startProxy(bench: Bench): Promise<{ port: number; asked: string[] }> {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): Socket => socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(keep(socket));
    let head = '';
    const onData = (chunk: Buffer): void => {
      head += chunk.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      socket.off('data', onData);
      asked.push(head);
      const to = /^CONNECT 127\.0\.0\.1:([0-9]+) HTTP\/1\.1\r\n/.exec(head);
      const far = keep(connect({ port: Number(to?.[1] ?? 1), host: '127.0.0.1', allowHalfOpen: true }));
      sockets.add(far);
      far.once('connect', () => {
        socket.write('HTTP/1.1 200 Connection established\r\nVia: conformance\r\n\r\n');
        socket.pipe(far).pipe(socket);
      });
    };
    socket.on('data', onData);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  bench.onEnd(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  return { port: (server.address() as AddressInfo).port, asked };
}

export const PROXY: Item[] = [
  {
    name: 'proxy',
    what: 'with HTTP_PROXY all connections go through CONNECT, with its credentials and without the token',
    claim: 'proxy',
    async run(bench) {
      const proxy = await startProxy(bench);
      const target = await bench.target(echo);
      bench.start({ mappings: [`tcp:${PORT}=${target.address}`], proxy: `http://user:p%40ss@127.0.0.1:${proxy.port}` });
      const control = await bench.server.connected();
      const transfer = await bench.server.open(control, PORT);
      await transfer.send('through');
      await transfer.gets('an echo through the proxy', 'through');
      check(proxy.asked.length === bench.server.connections, 'it connected past the proxy');
      for (const head of proxy.asked) {
        check(
          head.startsWith(`CONNECT 127.0.0.1:${bench.server.port} HTTP/1.1\r\n`),
          `it asked the proxy for ${head.split('\r\n')[0]}`,
        );
        const credentials = /\r\nproxy-authorization: basic ([A-Za-z0-9+/=]+)\r\n/i.exec(head)?.[1] ?? '';
        check(Buffer.from(credentials, 'base64').toString() === 'user:p@ss', 'the credentials of the proxy are missing or wrong');
        check(!head.includes(TOKEN), 'the proxy was told the device token');
      }
    },
  },
];
