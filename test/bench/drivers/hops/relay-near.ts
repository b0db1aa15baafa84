/** Visitors' end of `libs/relay` alone: no control connection, no services, no edge. */
import { createServer } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { DEFAULT_LIMITS, LIMITS } from '@culvert/contracts';
import { acceptUpgrade, Transfer } from '@culvert/relay';

const waiting = new Map<string, net.Socket>();
let count = 0;

const web = createServer();
web.on('upgrade', (request, raw, rest) => {
  const id = request.url?.split('/').at(-1) ?? '';
  const visitor = waiting.get(id);
  waiting.delete(id);
  if (visitor === undefined) {
    raw.destroy();
    return;
  }
  const { socket, head } = acceptUpgrade(request, raw, rest);
  const transfer = new Transfer(socket, { role: 'server', head, limits: DEFAULT_LIMITS, maxFrame: LIMITS.MAX_FRAME_BYTES.max });
  void transfer.splice(visitor);
});
web.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
  const { port: dialled } = web.address() as AddressInfo;
  const visitors = net.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (visitor) => {
    const id = `${++count}`;
    waiting.set(id, visitor);
    visitor.on('error', () => {});
    process.send?.({ id, port: dialled });
  });
  visitors.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => process.send?.(visitors.address()));
});
process.on('disconnect', () => process.exit(0));
