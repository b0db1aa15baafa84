import { client } from '../e2e/support.ts';

/** Status of a handshake that is right in form. */
export async function statusOfHandshake(edge: string, name: string, token: string): Promise<string> {
  const headers = [
    ...['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Protocol: culvert.v1'],
    ...['Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', `Authorization: Bearer ${token}`],
  ].flatMap((header) => ['-H', header]);
  const url = `${edge}/v1/control?name=${name}&ports=80`;
  const answer = await client('curl', [
    ...['-sS', '-o', '/dev/null', '-w', '%{http_code}', '--http1.1', '--max-time', '15'],
    ...headers,
    url,
  ]);
  return answer.stdout;
}
