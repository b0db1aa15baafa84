import net from 'node:net';

/** A visitor to whom nothing comes for so long ends the benchmark, with a word that says so. */
const SILENT_MS = 60_000;

function visit(port: number, options: Partial<net.NetConnectOpts> = {}): net.Socket {
  const socket = net.connect({ host: '127.0.0.1', port, noDelay: true, ...options } as net.NetConnectOpts);
  socket.setTimeout(SILENT_MS, () => socket.destroy(new Error(`nothing came from port ${port} for ${SILENT_MS / 1000} s`)));
  return socket;
}

/**
 * One visitor that fetches `bytes`; resolves with the bytes received. Reads into one reused buffer.
 *
 * @param onRead Is told of every read; false hangs up.
 */
export function download(port: number, bytes: number, onRead: (count: number) => boolean = () => true): Promise<number> {
  return new Promise((resolve, reject) => {
    let got = 0;
    const buffer = Buffer.allocUnsafe(1 << 18);
    const socket = visit(port, {
      onread: {
        buffer,
        callback: (read) => {
          got += read;
          if (!onRead(read)) socket.destroy();
          return true;
        },
      },
    });
    socket.write(`D ${bytes}\n`);
    socket.on('error', reject).on('close', () => resolve(got));
  });
}

const BLOCK = Buffer.alloc(1 << 18, 'visitor ');

/** One visitor that sends `bytes`; resolves with `bytes` once the local target says that it has exactly them. */
export function upload(port: number, bytes: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = visit(port);
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
    };
    socket.write(`U ${bytes}\n`);
    more();
    socket.on('data', (data) => {
      answer += data.toString('latin1');
    });
    // No half-close: not every tunnel has one.
    socket.on('error', reject).on('close', () => resolve(answer === 'ok\n' ? bytes : 0));
  });
}

const REQUEST = Buffer.alloc(200, 'q');

/** Has 200 bytes echoed over one connection, one after the other; while `more` says so; resolves with each round trip in microseconds. */
export function pingPong(port: number, more: (done: number) => boolean): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const times: number[] = [];
    const socket = visit(port);
    let got = 0;
    let at = 0;
    const ask = (): void => {
      got = 0;
      at = performance.now();
      socket.write(REQUEST);
    };
    const begin = (): void => {
      at = performance.now();
      socket.write(Buffer.concat([Buffer.from('P\n'), REQUEST]));
    };
    socket.on('connect', begin).on('error', reject);
    socket.on('data', (data) => {
      got += data.length;
      if (got < REQUEST.length) return;
      times.push((performance.now() - at) * 1000);
      if (more(times.length)) ask();
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
    const socket = visit(port);
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

/** `width` visitors at a time, spread over the ports, for `ms`; resolves with visitors a second and the times of all. */
export async function freshVisitors(
  ports: readonly number[],
  width: number,
  ms: number,
): Promise<{ perSecond: number; times: number[] }> {
  const times: number[] = [];
  const start = performance.now();
  const lane = async (port: number): Promise<void> => {
    while (performance.now() - start < ms) times.push(await freshVisitor(port));
  };
  await Promise.all(Array.from({ length: width }, (_, index) => lane(ports[index % ports.length] as number)));
  return { perSecond: (times.length * 1000) / (performance.now() - start), times };
}

/** Keep-alive HTTP: `width` connections with one request after the other for `ms`; microseconds of each. */
export async function requests(
  { port, host }: { port: number; host: string },
  width: number,
  ms: number,
): Promise<{ perSecond: number; times: number[] }> {
  const times: number[] = [];
  const start = performance.now();
  const until = start + ms;
  await Promise.all(Array.from({ length: width }, () => requestLane(port, host, until, times)));
  return { perSecond: (times.length * 1000) / (performance.now() - start), times };
}

function requestLane(port: number, host: string, until: number, times: number[]): Promise<void> {
  const request = `GET /bench HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: bench\r\n\r\n`;
  return new Promise((resolve, reject) => {
    const socket = visit(port);
    let text = '';
    let at = 0;
    const ask = (): void => {
      text = '';
      at = performance.now();
      socket.write(request);
    };
    socket.on('connect', ask).on('error', reject);
    socket.on('data', (data) => {
      text += data.toString('latin1');
      const head = text.indexOf('\r\n\r\n');
      const length = Number(/content-length: ([0-9]+)/i.exec(text)?.[1]);
      if (head < 0 || text.length < head + 4 + length) return;
      if (!text.startsWith('HTTP/1.1 200 ')) {
        socket.destroy(new Error(`the answer was ${text.slice(0, 80)}`));
        return;
      }
      const now = performance.now();
      times.push((now - at) * 1000);
      if (now < until) ask();
      else socket.end();
    });
    socket.on('close', () => resolve());
  });
}

/** Visitors that ask for a lot and read nothing; the returned function ends them. */
export function stalledVisitors(ports: readonly number[], count: number): () => void {
  const sockets = Array.from({ length: count }, (_, index) => {
    const socket = net.connect({ host: '127.0.0.1', port: ports[index % ports.length] as number });
    socket.on('error', () => {});
    socket.pause();
    socket.write('D 100000000\n');
    return socket;
  });
  return () => {
    for (const socket of sockets) socket.destroy();
  };
}
