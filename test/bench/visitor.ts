import net from 'node:net';

/** One visitor that fetches `bytes`; resolves with the bytes received. Reads into one reused buffer. */
export function download(port: number, bytes: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let got = 0;
    const buffer = Buffer.allocUnsafe(1 << 18);
    const socket = net.connect({
      host: '127.0.0.1',
      port,
      noDelay: true,
      onread: {
        buffer,
        callback: (read) => {
          got += read;
          return true;
        },
      },
    });
    socket.write(`D ${bytes}\n`);
    socket.on('error', reject).on('close', () => resolve(got));
  });
}

const BLOCK = Buffer.alloc(1 << 18, 'visitor ');

/** One visitor that sends `bytes` and ends; resolves with the count that the local target answered. */
export function upload(port: number, bytes: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true });
    let answer = '';
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
    socket.write('U\n');
    more();
    socket.on('data', (data) => {
      answer += data.toString('latin1');
    });
    socket.on('error', reject).on('end', () => socket.destroy());
    socket.on('close', () => resolve(Number(answer)));
  });
}

const REQUEST = Buffer.alloc(200, 'q');

/** Echoes 200 bytes over one connection, one after the other; resolves with each round trip in microseconds. */
export function pingPong(port: number, rounds: number): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const times: number[] = [];
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    let got = 0;
    let at = 0;
    const ask = (): void => {
      got = 0;
      at = performance.now();
      socket.write(REQUEST);
    };
    socket.write('E\n');
    socket.on('connect', ask).on('error', reject);
    socket.on('data', (data) => {
      got += data.length;
      if (got < REQUEST.length) return;
      times.push((performance.now() - at) * 1000);
      if (times.length < rounds) ask();
      else socket.destroy();
    });
    socket.on('close', () => resolve(times));
  });
}

/** A new visitor each: connect, 200 bytes there and back, end. Resolves with microseconds to the answer. */
export function freshVisitor(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const at = performance.now();
    let got = 0;
    let time = 0;
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    socket.write('E\n');
    socket.write(REQUEST);
    socket.on('error', reject);
    socket.on('data', (data) => {
      got += data.length;
      if (got < REQUEST.length) return;
      time = (performance.now() - at) * 1000;
      socket.end();
    });
    socket.on('close', () => (time > 0 ? resolve(time) : reject(new Error('the visitor got no answer'))));
  });
}

/** `width` visitors at a time for `ms`; resolves with visitors a second and the times of all. */
export async function freshVisitors(port: number, width: number, ms: number): Promise<{ perSecond: number; times: number[] }> {
  const times: number[] = [];
  const start = performance.now();
  const lane = async (): Promise<void> => {
    while (performance.now() - start < ms) times.push(await freshVisitor(port));
  };
  await Promise.all(Array.from({ length: width }, lane));
  return { perSecond: (times.length * 1000) / (performance.now() - start), times };
}
