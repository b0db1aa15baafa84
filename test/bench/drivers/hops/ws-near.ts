/** Visitors' end of a tunnel of `ws` streams: asks for a WebSocket per visitor and pipes. */
import { createServer } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { createWebSocketStream, WebSocketServer } from 'ws';

const waiting = new Map<string, net.Socket>();
let count = 0;

const web = createServer();
const sockets = new WebSocketServer({ server: web, perMessageDeflate: false });
sockets.on('connection', (ws, request) => {
  const visitor = waiting.get(request.url ?? '');
  waiting.delete(request.url ?? '');
  if (visitor === undefined) {
    ws.close();
    return;
  }
  const stream = createWebSocketStream(ws);
  visitor.pipe(stream).on('error', () => visitor.destroy());
  stream.pipe(visitor).on('error', () => stream.destroy());
});
web.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
  const { port: dialled } = web.address() as AddressInfo;
  const visitors = net.createServer({ noDelay: true, pauseOnConnect: true }, (visitor) => {
    const id = `/${++count}`;
    waiting.set(id, visitor);
    visitor.on('error', () => {});
    process.send?.({ id, port: dialled });
  });
  visitors.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => process.send?.(visitors.address()));
});
process.on('disconnect', () => process.exit(0));
