import { BlockList, connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort } from '../../../test/harness/servers.ts';
import { PublicPorts } from '../src/public-ports.ts';

let ports: PublicPorts | undefined;
afterEach(() => {
  for (const kind of ['tcp', 'edge'] as const) ports?.closeAll(kind);
});

/** What a visitor from 127.0.0.1 hears at a port: `hello` or how it was ended. */
function visit(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.setTimeout(20_000, () => resolve('silence'));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    socket.once('data', (data) => {
      resolve(data.toString());
      socket.destroy();
    });
    socket.once('end', () => resolve('ended'));
  });
}

describe('the ports of http endpoints', () => {
  it('answer edges alone, even when everybody reaches the address', async () => {
    const [http, tcp] = [await freePort(), await freePort()];
    for (const [network, heard] of [
      ['127.0.0.0', 'hello'],
      ['10.0.0.0', 'ECONNRESET'],
    ] as const) {
      const edges = new BlockList();
      edges.addSubnet(network, 8);
      ports = new PublicPorts({ tcpHost: '::', httpHost: '0.0.0.0', edges, onVisitor: (socket) => void socket.end('hello') });
      await ports.open(http, 'http');
      await ports.open(tcp, 'tcp');
      expect(await visit(http)).toBe(heard);
      expect(await visit(tcp)).toBe('hello');
      for (const kind of ['tcp', 'edge'] as const) ports.closeAll(kind);
    }
  });
});
