/** Visitors' end of `libs/relay` alone, with recycled transfers: no control connection, no services, no edge. */
import { createServer } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { DEFAULT_LIMITS, LIMITS } from '@culvert/contracts';
import { WarmHost } from '@culvert/relay';
import { renderUpgrade } from '@culvert/wire';

const waiting: net.Socket[] = [];
const idle: WarmHost[] = [];
let visitors = 0;

/** Joins those who wait with transfers that are idle. */
function assign(): void {
  while (waiting.length > 0 && idle.length > 0) {
    const host = idle.pop() as WarmHost;
    if (!host.idle) continue;
    const visitor = waiting.shift() as net.Socket;
    void host.offer(visitor, { id: `${++visitors}`, port: 9, visitor: '127.0.0.1:1' });
  }
}

const web = createServer();
web.on('upgrade', (request, socket, head) => {
  const answer = renderUpgrade(String(request.headers['sec-websocket-key']));
  const ready = (): void => {
    idle.push(host);
    assign();
  };
  const host = new WarmHost(socket as net.Socket, {
    ...{ head, answer, limits: DEFAULT_LIMITS, maxFrame: LIMITS.MAX_FRAME_BYTES.max, onIdle: ready },
  });
  ready();
});
web.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
  const { port: dialled } = web.address() as AddressInfo;
  const door = net.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (visitor) => {
    visitor.on('error', () => {});
    waiting.push(visitor);
    assign();
    if (waiting.length > 0) process.send?.({ port: dialled });
  });
  door.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => process.send?.(door.address()));
});
process.on('disconnect', () => process.exit(0));
