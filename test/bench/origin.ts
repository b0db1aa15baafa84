/**
 * The local target of every benchmark, run as a process of its own. The first line of a connection says what to do:
 *   `D <bytes>\n` send so many bytes, then end     `U <bytes>\n` read so many, then answer `ok\n` and end
 *   `E\n` echo                                      `GET ...` HTTP with keep-alive, 200 bytes of body an answer
 *   `P\n` echo, in a process of its own (pong.ts), which nothing but the path to it can delay
 */
import { fork } from 'node:child_process';
import net from 'node:net';
import { adopt } from '@culvert/relay';

const pong = fork(new URL('./pong.ts', import.meta.url), { execArgv: [] });

const BLOCK = Buffer.alloc(1 << 18, 'culvert ');
const ANSWER = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 200\r\n\r\n${'a'.repeat(200)}`);
const READ = Buffer.allocUnsafe(1 << 18);

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

function upload(old: net.Socket, bytes: number, early: number): void {
  let left = bytes - early;
  const count = (read: number): boolean => {
    left -= read;
    if (left <= 0) adopted?.socket.end(left === 0 ? 'ok\n' : 'too much\n');
    return true;
  };
  const adopted = adopt(old, { buffer: () => READ, callback: count });
  adopted?.socket.on('error', () => {}).resume();
  count(adopted?.head.length ?? 0);
}

function answer(socket: net.Socket, first: string): void {
  let head = first;
  const more = (text: string): void => {
    head += text;
    for (let at = head.indexOf('\r\n\r\n'); at >= 0; at = head.indexOf('\r\n\r\n')) {
      head = head.slice(at + 4);
      socket.write(ANSWER);
    }
  };
  more('');
  socket.on('data', (data) => more(data.toString('latin1')));
}

/** Node goes on reading a socket that it sends away until that has arrived, and throws away what it reads. */
function handOver(socket: net.Socket, early: Buffer): void {
  (socket as unknown as { _handle: { readStop(): number } })._handle.readStop();
  pong.send(early.toString('latin1'), socket);
}

function serve(socket: net.Socket): void {
  socket.setNoDelay(true);
  socket.on('error', () => {});
  let head = '';
  const first = (chunk: Buffer): void => {
    const at = chunk.indexOf(10);
    head += chunk.toString('latin1', 0, at < 0 ? chunk.length : at + 1);
    if (at < 0) return;
    socket.off('data', first);
    const rest = chunk.subarray(at + 1);
    const [verb, size] = head.trim().split(' ');
    if (verb === 'P') handOver(socket, rest);
    else if (verb === 'D') download(socket, Number(size));
    else if (verb === 'U') upload(socket, Number(size), rest.length);
    else if (verb === 'GET') {
      socket.on('end', () => socket.end());
      answer(socket, head + rest.toString('latin1'));
    } else {
      socket.write(rest);
      socket.on('data', (data) => socket.write(data));
      socket.on('end', () => socket.end());
    }
  };
  socket.on('data', first);
}

const server = net.createServer({ allowHalfOpen: true }, serve);
server.listen({ host: '127.0.0.1', port: Number(process.argv[2] ?? 0), backlog: 4096 }, () => process.send?.(server.address()));
process.on('disconnect', () => {
  pong.disconnect();
  process.exit(0);
});
