/**
 * `delay-hop.ts <port> <ms>`: a link to a port of loopback on which everything takes so many milliseconds each way, the round
 * trip of the TCP handshake included.
 */
import net from 'node:net';

const [target = 0, delayMs = 0] = process.argv.slice(2).map(Number);

/** Bytes and the end go on `delayMs` after they came, in order: timers of one length fire in the order they were set. */
function carry(from: net.Socket, to: net.Socket): void {
  from.on('data', (data) => setTimeout(() => to.write(data), delayMs));
  from.on('end', () => setTimeout(() => to.end(), delayMs));
  from.on('close', () => setTimeout(() => to.destroySoon(), 2 * delayMs));
  from.on('error', () => to.destroy());
}

const server = net.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (near) => {
  near.on('error', () => {});
  setTimeout(() => {
    const far = net.connect({ host: '127.0.0.1', port: target, allowHalfOpen: true, noDelay: true });
    carry(near, far);
    carry(far, near);
    near.resume();
  }, 2 * delayMs);
});
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => process.send?.(server.address()));
process.on('disconnect', () => process.exit(0));
