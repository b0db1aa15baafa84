import { readFile, readlink } from 'node:fs/promises';
import type net from 'node:net';

/** Tables of the kernel with one line a TCP socket of this network namespace. */
const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];
/** Columns of such a line: `tx_queue:rx_queue` in hex, and the inode. */
const QUEUES = 4;
const INODE = 9;

let reading: Promise<readonly string[]> | undefined;

/** One read of the tables for all who ask at once. */
function tables(): Promise<readonly string[]> {
  reading ??= Promise.all(TABLES.map((path) => readFile(path, 'latin1').catch(() => ''))).finally(() => {
    reading = undefined;
  });
  return reading;
}

/**
 * Bytes that the kernel has taken from this socket and the peer's kernel has not acknowledged: what Node cannot ask a socket.
 * Undefined where the system does not say (anything but Linux), and for what is no TCP socket.
 */
export async function queuedInKernel(socket: net.Socket): Promise<number | undefined> {
  const { fd = -1 } = (socket as unknown as { _handle: { fd?: number } | null })._handle ?? {};
  if (fd < 0 || process.platform !== 'linux') return undefined;
  try {
    const inode = /^socket:\[([0-9]+)\]$/.exec(await readlink(`/proc/self/fd/${fd}`))?.[1];
    if (inode === undefined) return undefined;
    for (const table of await tables()) {
      const at = table.indexOf(` ${inode} `);
      if (at < 0) continue;
      const columns: string[] = table
        .slice(table.lastIndexOf('\n', at) + 1, at + inode.length + 1)
        .trim()
        .split(/ +/);
      if (columns[INODE] === inode) return Number.parseInt(columns[QUEUES]?.split(':')[0] ?? '', 16);
    }
  } catch {
    // closed meanwhile
  }
  return undefined;
}
