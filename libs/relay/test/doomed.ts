import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { Cleanup, listen, transferPair } from './support.ts';

// A process to be killed: whoever connects to the port it says is spliced with the target at argv[2], over a transfer within this
// process, which says when the visitor has been told an end.

const target = Number(process.argv[2]);
const cleanup = new Cleanup();
const server = net.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, async (visitor) => {
  const { server, client } = await transferPair(cleanup, { client: { mask: 'zero' } });
  const local = net.connect({ port: target, host: '127.0.0.1', allowHalfOpen: true });
  local.pause();
  await once(local, 'connect');
  visitor.once('finish', () => process.send?.('ended'));
  void server.splice(visitor);
  void client.splice(local);
});
await listen(server, cleanup);
process.send?.((server.address() as AddressInfo).port);
