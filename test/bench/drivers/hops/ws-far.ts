/** Device's end of a tunnel of `ws` streams. */
import net from 'node:net';
import { createWebSocketStream, WebSocket } from 'ws';

const target = Number(process.argv[2]);
process.on('message', ({ id, port }: { id: string; port: number }) => {
  const local = net.connect({ host: '127.0.0.1', port: target, noDelay: true });
  const stream = createWebSocketStream(new WebSocket(`ws://127.0.0.1:${port}${id}`, { perMessageDeflate: false }));
  local.pipe(stream).on('error', () => local.destroy());
  stream.pipe(local).on('error', () => stream.destroy());
});
process.on('disconnect', () => process.exit(0));
process.send?.({ port: target });
