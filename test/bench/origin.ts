/**
 * The local target of every benchmark, run as a process of its own. The first line of a connection says what to do:
 *   `D <bytes>\n` send so many bytes, then end        `U\n` read to the end, answer with the count
 *   `E\n` echo                                        `R <bytes>\n` answer every 200-byte request with so many bytes
 */
import net from 'node:net';

const BLOCK = Buffer.alloc(1 << 18, 'culvert ');

function download(socket: net.Socket, bytes: number): void {
  let left = bytes;
  const more = (): void => {
    while (left > 0) {
      const piece = left >= BLOCK.length ? BLOCK : BLOCK.subarray(0, left);
      left -= piece.length;
      if (!socket.write(piece)) {
        socket.once('drain', more);
        return;
      }
    }
    socket.end();
  };
  more();
}

function serve(socket: net.Socket): void {
  socket.setNoDelay(true);
  socket.on('error', () => {});
  let head = '';
  const first = (chunk: Buffer): void => {
    const at = chunk.indexOf(10);
    head += chunk.toString('latin1', 0, at < 0 ? chunk.length : at);
    if (at < 0) return;
    socket.off('data', first);
    const rest = chunk.subarray(at + 1);
    const [verb, size] = head.split(' ');
    if (verb === 'D') download(socket, Number(size));
    else if (verb === 'U') {
      let bytes = rest.length;
      socket.on('data', (data) => {
        bytes += data.length;
      });
      socket.on('end', () => socket.end(`${bytes}\n`));
    } else {
      socket.write(rest);
      socket.on('data', (data) => socket.write(data));
      socket.on('end', () => socket.end());
    }
  };
  socket.on('data', first);
}

const server = net.createServer({ allowHalfOpen: true, highWaterMark: 1 << 20 }, serve);
server.listen({ host: '127.0.0.1', port: Number(process.argv[2] ?? 0), backlog: 4096 }, () => process.send?.(server.address()));
process.on('disconnect', () => process.exit(0));
