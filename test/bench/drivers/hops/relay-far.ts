/** Device's end of `libs/relay` alone: dials a transfer when it is asked for one, and keeps it. */
import { DEFAULT_LIMITS } from '@culvert/contracts';
import { connectLocal, connectWebSocket, WarmDevice } from '@culvert/relay';

const target = Number(process.argv[2]);
const limits = DEFAULT_LIMITS;
const complain = (error: unknown): void => console.error(`relay-far: ${error}`);

async function dial(port: number): Promise<void> {
  const path = '/v1/transfer/tcp-listener-1/warm';
  const { socket, head } = await connectWebSocket({ host: '127.0.0.1', port, path, token: 'token' });
  const serve = async (): Promise<void> => {
    const local = await connectLocal({ host: '127.0.0.1', port: target });
    await device.splice(local);
  };
  // The mask of agents that are connected by TLS: what is measured is the relay, which C's counterpart has no masks in.
  const onAssign = (): void => void serve().catch(complain);
  const device = new WarmDevice(socket, { head, limits, maxFrame: 1 << 20, mask: 'zero', onAssign });
}

process.on('message', ({ port }: { port: number }) => void dial(port).catch(complain));
process.on('disconnect', () => process.exit(0));
process.send?.({ port: target });
