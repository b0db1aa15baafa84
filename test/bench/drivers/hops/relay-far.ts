/** Device's end of `libs/relay` alone. */
import { DEFAULT_LIMITS } from '@culvert/contracts';
import { connectLocal, dialTransfer } from '@culvert/relay';

const target = Number(process.argv[2]);
const limits = DEFAULT_LIMITS;

async function serve(id: string, port: number): Promise<void> {
  const local = await connectLocal({ host: '127.0.0.1', port: target });
  const path = `/v1/transfer/tcp-listener-1/${id}`;
  const transfer = await dialTransfer({ host: '127.0.0.1', port, path, token: 'token' }, { limits, maxFrame: 1 << 20 });
  await transfer.splice(local);
}

process.on(
  'message',
  ({ id, port }: { id: string; port: number }) => void serve(id, port).catch((error) => console.error(`relay-far: ${error}`)),
);
process.on('disconnect', () => process.exit(0));
process.send?.({ port: target });
