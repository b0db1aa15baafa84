import { CulvertError, faultOfDeviceName, SCHEMES } from '@culvert/contracts';
import {
  type HandshakeHeaders,
  handshakePath,
  parseAccessHandshake,
  parseControlHandshake,
  parseTransferHandshake,
  type Refusal,
  ResponseParser,
  renderRefusal,
} from '@culvert/wire';
import { bytesOf, demand, type FuzzTarget } from './target.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const UPGRADE = [
  'upgrade: websocket',
  'connection: Upgrade',
  'sec-websocket-version: 13',
  `sec-websocket-key: ${KEY}`,
  'sec-websocket-protocol: culvert.v1',
  'authorization: Bearer cvd_token',
].join('\n');
const seed = (path: string, headers = UPGRADE): Buffer => bytesOf(`GET ${path}\n${headers}`);
const WORDS = [
  '%',
  '%00',
  '%2e%2e',
  '%2F',
  '//',
  '/../',
  '?',
  '&',
  '&&',
  '=',
  ',',
  ':',
  'tcp:',
  'https:',
  'name=',
  'ports=',
  'warm=1',
  'boot=',
  'max_frame=',
  'inline=',
  '99999999999',
  '-1',
  '0',
  '\r\n',
  '\0',
  'Bearer ',
  'websocket',
  'upgrade: ',
  'x: y\n',
  'é',
  '__proto__',
  'constructor',
];

/** `METHOD target`, then a header a line, as Node's http hands them over: names in lower case, repeated ones as a list. */
function requestOf(input: Buffer): { method: string; url: string; headers: HandshakeHeaders } {
  const [first = '', ...lines] = input.toString('latin1').split('\n');
  const blank = first.indexOf(' ');
  const headers: HandshakeHeaders = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const before = Object.hasOwn(headers, name) ? headers[name] : undefined;
    headers[name] = before === undefined ? value : [before, value].flat();
  }
  return { method: blank < 0 ? first : first.slice(0, blank), url: blank < 0 ? '' : first.slice(blank + 1), headers };
}

/** A refusal says why, and its answer is one whole HTTP answer whatever the request said. */
function checkRefusal({ code, message }: Refusal): void {
  demand(message.length > 0 && message.length < 1_024, 'a refusal has a message of moderate length');
  const answer = renderRefusal({ code, message });
  const [head = '', body = ''] = answer.split('\r\n\r\n');
  demand(answer.split('\r\n\r\n').length === 2, 'nothing of the request reaches the head of the answer');
  demand(/^HTTP\/1\.1 [45][0-9]{2} /.test(head), 'a refusal is a client or server error');
  demand((JSON.parse(body) as { code: unknown }).code === code, 'the body says the code');
}

function target(name: string, seeds: readonly Buffer[], parse: (request: ReturnType<typeof requestOf>) => void): FuzzTarget {
  return { name, seeds, words: WORDS, run: (input) => parse(requestOf(input)) };
}

export const HANDSHAKES: readonly FuzzTarget[] = [
  target(
    'handshake-control',
    [
      seed('/v1/control?name=alice&ports=80,tcp:22&warm=2&max_frame=65536&transfers=8&boot=Zk3vQ1x9T0aB'),
      seed('/v1/control?name=a%6Cice&ports=https:8443&inline=2'),
      seed('/v1/control'),
    ],
    ({ method, url, headers }) => {
      handshakePath(url);
      const result = parseControlHandshake(method, url, headers);
      if (!result.ok) return checkRefusal(result);
      demand(method === 'GET', 'only GET is accepted');
      demand(faultOfDeviceName(result.name) === undefined, 'an accepted name is a DNS label');
      demand(result.ports.length >= 1 && result.ports.length <= 32, 'there are 1 to 32 ports');
      demand(new Set(result.ports.map(({ port }) => port)).size === result.ports.length, 'port numbers are unique');
      for (const { port, scheme } of result.ports) {
        demand(Number.isInteger(port) && port >= 1 && port <= 65_535 && SCHEMES.includes(scheme), 'ports are ports');
      }
      demand(/^[\x21-\x7e]+$/.test(result.token) && result.token.length <= 512, 'the token is visible characters');
    },
  ),
  target(
    'handshake-transfer',
    [seed('/v1/transfer/tcp-listener-1/kq3rB0mZ8x1Y'), seed('/v1/transfer/tcp-listener-1?warm=1')],
    ({ method, url, headers }) => {
      const result = parseTransferHandshake(method, url, headers);
      if (!result.ok) return checkRefusal(result);
      demand(/^[a-z0-9-]{1,63}$/.test(result.listener), 'the listener is an instance id');
      demand(result.id === undefined || /^[A-Za-z0-9_-]{1,64}$/.test(result.id), 'the id is an id');
    },
  ),
  target('handshake-access', [seed('/v1/access/tcp-listener-1/kq3rB0mZ8x1Y?max_frame=262144')], ({ method, url, headers }) => {
    const result = parseAccessHandshake(method, url, headers);
    if (!result.ok) return checkRefusal(result);
    demand(/^[a-z0-9-]{1,63}$/.test(result.listener), 'the listener is an instance id');
    demand(/^[A-Za-z0-9_-]{1,64}$/.test(result.ticket), 'the ticket is an id');
    demand(result.max_frame >= 125 && result.max_frame <= 1 << 20, 'the frame is within its bounds');
  }),
  {
    name: 'handshake-answer',
    seeds: [
      bytesOf(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: culvert.v1\r\n\r\nbytes`,
      ),
      bytesOf('HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 44\r\n\r\n{"code":"unavailable","message":"come later"}'),
    ],
    words: [...WORDS, 'HTTP/1.1 ', 'Content-Length: ', 'Retry-After: ', '\r\n\r\n', 'Sec-WebSocket-Extensions: x\r\n'],
    run: (input) => {
      const outcome = (chunks: Buffer[]): string => {
        const parser = new ResponseParser(KEY);
        try {
          for (const chunk of chunks) {
            const answer = parser.push(chunk);
            if (answer !== undefined) return answer.kind === 'upgraded' ? 'upgraded' : JSON.stringify(answer);
          }
          return JSON.stringify(parser.end() ?? 'nothing');
        } catch (error) {
          if (error instanceof CulvertError) return error.code;
          throw error;
        }
      };
      const bytewise = outcome(Array.from(input, (_, at) => input.subarray(at, at + 1)));
      demand(outcome([input]) === bytewise, 'the answer is read alike however it is cut');
    },
  },
];
