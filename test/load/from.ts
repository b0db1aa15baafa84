import net from 'node:net';

/** Addresses of the loopback network that a fleet comes from: each has source ports of its own and counts as a client of its own. */
const ADDRESSES = 250 * 250;

export const sourceOf = (index: number): string => {
  const at = index % ADDRESSES;
  return `127.0.${1 + Math.floor(at / 250)}.${2 + (at % 250)}`;
};

/** Connects from that address of our own. Obeys the signal. */
export function connectFrom(localAddress: string, port: number): (signal: AbortSignal) => Promise<net.Socket> {
  return (signal) =>
    new Promise((resolve, reject) => {
      const socket = net.connect({ host: '127.0.0.1', port, localAddress, allowHalfOpen: true, noDelay: true });
      const onAbort = (): void => {
        socket.destroy();
        reject(signal.reason);
      };
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
      socket.once('connect', () => {
        signal.removeEventListener('abort', onAbort);
        resolve(socket);
      });
      socket.on('error', reject); // stays: an error between two waits must have a listener
    });
}
