/** `node-hop.ts <port>`: a plain proxy of Node streams to a port of loopback. */
import net from 'node:net';

const target = Number(process.argv[2]);
const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const far = net.connect({ host: '127.0.0.1', port: target, allowHalfOpen: true, noDelay: true });
  near.pipe(far).on('error', () => near.destroy());
  far.pipe(near).on('error', () => far.destroy());
});
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => process.send?.(server.address()));
process.on('disconnect', () => process.exit(0));
