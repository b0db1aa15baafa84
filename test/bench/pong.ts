/** Echoes on the connections that the origin hands over, each with what has been read of it. */
import type net from 'node:net';
import { hurry } from './hurry.ts';

hurry();
process.on('message', (early: string, socket: net.Socket | undefined) => {
  if (socket === undefined) return; // it was closed on the way
  socket.setNoDelay(true);
  socket.on('error', () => {}).on('end', () => socket.end());
  socket.write(Buffer.from(early, 'latin1'));
  socket.on('data', (data) => socket.write(data));
});
process.on('disconnect', () => process.exit(0));
