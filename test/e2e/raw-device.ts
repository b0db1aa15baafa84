import { WebSocket } from 'ws';
import type { StackInfo } from '../harness/system.ts';

/** How a handshake of a hand-made device ended. */
export type Knocked =
  | { ready: true; epoch: number; resumed: boolean; ws: WebSocket }
  | { ready: false; status: number; code: string; retryAfter: number };

/** Opens a control connection by hand, from an address of the loopback network, with a boot of its own. */
export function knock(
  info: StackInfo,
  device: { name: string; token: string; boot: string; ports?: string; from?: string },
): Promise<Knocked> {
  const { name, token, boot, ports = 'tcp:22', from = '127.0.0.1' } = device;
  return new Promise((resolve, reject) => {
    const url = `${info.edge.replace('http', 'ws')}/v1/control?name=${name}&ports=${ports}&boot=${boot}`;
    const ws = new WebSocket(url, 'culvert.v1', {
      headers: { authorization: `Bearer ${token}` },
      localAddress: from,
      perMessageDeflate: false,
    });
    ws.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as { type: string; epoch: number; resumed: boolean };
      if (message.type === 'ready') resolve({ ready: true, epoch: message.epoch, resumed: message.resumed, ws });
    });
    ws.on('unexpected-response', (_, response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => {
        body += chunk.toString();
      });
      response.on('end', () => {
        const { code } = JSON.parse(body) as { code: string };
        resolve({
          ready: false,
          status: response.statusCode ?? 0,
          code,
          retryAfter: Number(response.headers['retry-after'] ?? 0),
        });
      });
    });
    ws.on('error', reject);
  });
}
