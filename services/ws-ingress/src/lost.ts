import type { Connections } from './connections.ts';

/** Closes the connection of a tenure that the store does not know, or no more; its device connects anew. */
export async function endLost(connections: Connections, device: string, epoch: number, code: string): Promise<void> {
  const connection = await connections.find(device, epoch, 0);
  if (code === 'revoked' || code === 'unauthorized') connection?.close('revoked', 'the operator revoked the device');
  else connection?.close('lease_lost', 'the lease is no longer held by this connection');
}
