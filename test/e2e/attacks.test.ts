import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { runCli } from '../harness/agent.ts';
import { type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, type Target } from '../harness/targets.ts';
import { crowd, HOLDS, type Hold, holdPlace, type OpenPort, openPorts, say } from './strangers.ts';
import { tcpVisitor, until } from './support.ts';

const HANDSHAKE_MS = 3_000;
const DIAL_MS = 2_000;
let stack: Stack;
let tcp: Target;
let ports: OpenPort[];
let token: string;
let witness: number;
/** Process ids as they were at the beginning: nobody may have died meanwhile, not even to be started again. */
let pids: string;

const pidsNow = (): string =>
  JSON.stringify(stack.info.services.map(({ id, pid }) => [id, pid]).concat([['nginx', stack.info.nginx.pid]]));
const portOf = (name: string): OpenPort => ports.find((one) => one.name === name) as OpenPort;

beforeAll(async () => {
  stack = await startStack({
    env: {
      CULVERT_REPLICAS: 'tcp-listener=2',
      CULVERT_LIMIT_DIAL_MS: String(DIAL_MS),
      CULVERT_LIMIT_HANDSHAKE_MS: String(HANDSHAKE_MS),
      CULVERT_LIMIT_ACQUIRE_MS: '2500',
      CULVERT_LIMIT_PROBE_MS: '1000',
      CULVERT_LIMIT_LOCAL_CONNECT_MS: '1000',
      CULVERT_LIMIT_CLOSE_MS: '300',
    },
  });
  tcp = await startTcpTarget(echo);
  token = await stack.addDevice('mallory');
  const agent = await stack.runAgent({
    name: 'witness',
    token: await stack.addDevice('witness'),
    mappings: [`tcp:7=127.0.0.1:${tcp.port}`],
  });
  witness = agent.endpoint(7).public_port as number;
  ports = await openPorts(stack);
  pids = pidsNow();
});
afterAll(async () => {
  await stack?.stop();
  await tcp?.close();
});

const allIsWell = async (): Promise<void> => {
  expect((await tcpVisitor(witness, 'well')).data.toString()).toBe('well');
  expect(pidsNow()).toBe(pids);
};

/** A device of mallory's by hand, with one tcp endpoint; resolves with the dial of a visitor. */
async function dialled(): Promise<{ socket: WebSocket; visitor: net.Socket; dial: { id: string; path: string } }> {
  const url = `${stack.info.edge.replace('http', 'ws')}/v1/control?name=mallory&ports=tcp:22`;
  const socket = new WebSocket(url, 'culvert.v1', { headers: { authorization: `Bearer ${token}` }, perMessageDeflate: false });
  const messages: Record<string, unknown>[] = [];
  socket.on('error', () => {}).on('message', (data: Buffer) => messages.push(JSON.parse(data.toString())));
  await until('ready', () => messages.find(({ type }) => type === 'ready'));
  const port = messages.find(({ type }) => type === 'endpoint')?.public_port as number;
  const visitor = net.connect(port, '127.0.0.1').on('error', () => {});
  const dial = await until('a dial', () => messages.find(({ type }) => type === 'dial'));
  return { socket, visitor, dial: dial as { id: string; path: string } };
}
async function leave({ socket, visitor }: { socket: WebSocket; visitor: net.Socket }): Promise<void> {
  visitor.destroy();
  socket.close(1000);
  if (socket.readyState !== WebSocket.CLOSED) await new Promise((resolve) => socket.once('close', resolve));
}

const upgrade = (path: string, bearer: string): string =>
  `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n` +
  `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: culvert.v1\r\nAuthorization: Bearer ${bearer}\r\n\r\n`;
const statusOf = async (path: string, bearer: string): Promise<number> =>
  Number(/^HTTP\/1\.1 ([0-9]{3})/.exec((await say(portOf('edge'), upgrade(path, bearer), 8_000, /\r\n\r\n/)).heard)?.[1]);

describe('a few bytes', () => {
  const hello = Buffer.from(
    '16030100310100002d0303000000000000000000000000000000000000000000000000000000000000000000000213010100000200',
    'hex',
  );
  const words: [string, Buffer][] = [
    ['nothing', Buffer.alloc(0)],
    ['a zero', Buffer.alloc(1)],
    ['zeros', Buffer.alloc(4_096)],
    ['ones', Buffer.alloc(512, 0xff)],
    ['empty lines', Buffer.from('\r\n\r\n\r\n')],
    ['half a request', Buffer.from('GET / HT')],
    ['a request without a host', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a request of HTTP/0.9', Buffer.from('GET /\r\n')],
    ['the preface of HTTP/2', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0')],
    ['a hello of TLS', hello],
    [
      'an upgrade with nothing right',
      Buffer.from('GET /v1/control HTTP/1.1\r\nHost: x\r\nUpgrade: \0\r\nConnection: upgrade\r\n\r\n'),
    ],
    [
      'an upgrade and frames at once',
      Buffer.concat([Buffer.from(upgrade('/v1/transfer/tcp-listener-1/x', 'x')), Buffer.alloc(300, 0x82)]),
    ],
    ['a body of a negative length', Buffer.from('POST /v1/access HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n')],
    [
      'chunks that overflow',
      Buffer.from('POST /v1/access HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx'),
    ],
    ['a command of Redis', Buffer.from('*1\r\n$-9\r\nPING\r\n')],
    ['a command of NATS', Buffer.from('CONNECT {"\r\nPUB x -1\r\n')],
    ['a line without an end', Buffer.alloc(70_000, 0x41)],
  ];
  it.each(words)('of %s end no process, at no port', async (_what, bytes) => {
    await Promise.all(ports.map((port) => say(port, bytes, 300)));
    await allIsWell();
  });
});

describe('a second path', () => {
  const variants = [
    '/v1/devices', '//v1/devices', '/v1//devices', '/V1/devices', '/v1/devices/', '/v1/DEVICES', '/%76%31/devices', '/v1%2fdevices',
    '/v1/devices%2f', '/v1/devices%00', '/./v1/devices', '/x/../v1/devices', '/docs/../v1/devices', '/docs/..%2fv1/devices', '/v1/devices;x=1',
    '/v1/devices?token=x', '/v1/devices#x', '/v1\\devices', 'http://x/v1/devices', '/v1/devices/witness', '/%2e/v1/devices/witness', '/v1/access/../devices',
  ]; // biome-ignore format: a list
  const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'get', 'GET\t'];
  it.each(['admin', 'edge'])('to the API opens nothing without a token at %s', async (name) => {
    for (const path of variants) {
      await Promise.all(
        methods.map(async (method) => {
          const headers =
            'Host: 127.0.0.1\r\nX-HTTP-Method-Override: GET\r\nX-Original-URL: /v1/devices\r\nX-Forwarded-For: 127.0.0.1\r\nConnection: close';
          const { heard } = await say(
            portOf(name),
            `${method} ${path} HTTP/1.1\r\n${headers}\r\nContent-Length: 0\r\n\r\n`,
            8_000,
          );
          const what = `${method} ${path}: ${heard.slice(0, 60)}`;
          expect(/^HTTP\/1\.1 (?:4[0-9]{2}|30[18]|501|503|505) /.test(heard) || !heard.startsWith('HTTP/1.1'), what).toBe(true);
          expect(heard, what).not.toContain('"name":"witness"');
        }),
      );
    }
    await allIsWell();
  });
  it.each([
    '/v1/control',
    '//v1/control',
    '/v1/./control',
    '/v1/%63ontrol',
    '/%76%31/control',
    '/v1/control/',
    '/V1/control',
    '/v1/control%3f',
    '/x/../v1/control',
  ])('to a control connection does not avoid the token: %s', async (path) => {
    // biome-ignore format: a list
    expect(await statusOf(`${path}?name=mallory&ports=tcp:22`, 'cvd_none')).toBeGreaterThanOrEqual(400);
    expect(await statusOf(`${path}?name=witness&ports=tcp:22`, token)).toBeGreaterThanOrEqual(400);
  });
});

describe('a transfer', () => {
  it('is refused at another listener, at other services, and under another kind of path', async () => {
    const one = await dialled();
    const { path, id } = one.dial;
    const mine = /tcp-listener-[0-9]+/.exec(path)?.[0] as string;
    const other = mine.endsWith('1') ? 'tcp-listener-2' : 'tcp-listener-1';
    for (const wrong of [
      other,
      'ws-ingress-1',
      'admin-1',
      'lease-manager-1',
      'port-allocator-1',
      'tcp-listener-3',
      '../ws-ingress-1',
    ]) {
      expect(await statusOf(`/v1/transfer/${wrong}/${id}`, token), wrong).toBe(404);
      expect(await statusOf(`/v1/access/${wrong}/${id}`, token), wrong).toBe(404);
    }
    expect(await statusOf(`/v1/transfer/${other}?warm=1`, token)).toBe(401);
    expect(await statusOf(`/v1/access/${mine}/${id}`, token)).toBe(404);
    expect(await statusOf(path, await stack.addDevice('thief'))).toBe(401);
    expect(await statusOf(path, stack.info.adminToken)).toBe(401);
    expect(await statusOf(path, token)).toBe(101);
    expect(await statusOf(path, token)).toBe(404);
    await leave(one);
    await allIsWell();
  });

  it('is refused after its time, and when its visitor has gone', async () => {
    const late = await dialled();
    await new Promise((resolve) => late.visitor.once('close', resolve));
    expect(await statusOf(late.dial.path, token)).toBe(404);
    await leave(late);
    const gone = await dialled();
    gone.visitor.resetAndDestroy();
    await until('the id to be forgotten', async () => ((await statusOf(gone.dial.path, token)) === 404 ? true : undefined));
    await leave(gone);
  });

  const mask = '00000000';
  it.each([
    ['an unmasked frame', '820568656c6c6f'],
    ['a reserved bit', `c285${mask}68656c6c6f`],
    ['an unknown opcode', `8385${mask}68656c6c6f`],
    ['a text', `8185${mask}68656c6c6f`],
    ['a control frame of 126 bytes', `89fe007e${mask}${'00'.repeat(126)}`],
    ['a fragmented ping', `0980${mask}`],
    ['a continuation of nothing', `8085${mask}68656c6c6f`],
    ['a length of 2^63', `82ffffffffffffffffff${mask}`],
    ['a length that is not the shortest', `82fe0001${mask}00`],
    ['a close frame of one byte', `8881${mask}03`],
    ['data after END', `8280${mask}8281${mask}41`],
  ])('that sends %s is closed with 4400 or 1009, and its visitor is reset', async (what, hex) => {
    const one = await dialled();
    const ended = new Promise<string>((resolve) => {
      one.visitor.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? '')).on('close', () => resolve('closed'));
    });
    const { heard, closed } = await say(
      portOf('edge'),
      Buffer.concat([Buffer.from(upgrade(one.dial.path, token)), Buffer.from(hex, 'hex')]),
      8_000,
    );
    const frames = Buffer.from(heard.slice(heard.indexOf('\r\n\r\n') + 4), 'latin1');
    expect(closed).toBe(true);
    expect(heard).toMatch(/^HTTP\/1\.1 101 /);
    const at = frames.indexOf(0x88);
    expect([4400, 1009]).toContain(frames.readUInt16BE(at + 2));
    expect(await ended).toMatch(what === 'data after END' ? /ECONNRESET|closed/ : 'ECONNRESET'); // END was its end already
    await leave(one);
    await allIsWell();
  });
});

describe('tokens', () => {
  it('are taken from the environment or refused, and never from the command line', async () => {
    const line = ['agent', '--server', stack.info.edge, '--name', 'mallory', 'tcp:22'];
    const [none, empty, operator, ...given] = await Promise.all([
      runCli(line),
      runCli(line, { CULVERT_TOKEN: '' }),
      runCli(['forward', 'witness', '0:7', '--server', stack.info.edge, '--token', 'x']),
      ...['--token', '--auth'].map((option) => runCli([...line, option, token])),
    ]);
    for (const one of [none, empty]) expect(one).toMatchObject({ code: 2, stderr: expect.stringContaining('CULVERT_TOKEN') });
    expect(operator.code).toBe(2);
    for (const refused of given) {
      expect(refused.code).toBe(2);
      expect(refused.stderr).not.toContain(token);
    }
    const wrong = stack.spawnAgent({ name: 'mallory', token: 'cvd_wrong', mappings: ['tcp:22'] });
    expect(await wrong.event('refused')).toMatchObject({ code: 'unauthorized' });
    await wrong.stop();
  });

  it('are in no process list', () => {
    const { adminToken, nats, redis } = stack.info;
    const secrets = [token, adminToken, new URL(nats).password, new URL(redis.address).password];
    expect(secrets.every((secret) => secret.length > 8)).toBe(true);
    for (const pid of readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))) {
      let line = '';
      try {
        line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        // gone meanwhile
      }
      for (const secret of secrets) expect(line.includes(secret), line.split('\0')[0]).toBe(false);
    }
  });
});

describe('a flood of visitors against one device', () => {
  const MOST = 20;
  it('is bounded by its policy, and the visitors of others are served meanwhile', async () => {
    const target = await startTcpTarget(echo);
    const agent = await stack.runAgent({
      name: 'flooded',
      token: await stack.addDevice('flooded'),
      mappings: [`tcp:7=127.0.0.1:${target.port}`, 'http:80=127.0.0.1:1'],
    });
    const port = agent.endpoint(7).public_port as number;
    const policy = { visitors: MOST, visitors_per_second: 50, requests_per_second: 2, bytes_per_second: 200_000 };
    expect((await stack.admin('PUT', '/v1/devices/flooded/policy', policy)).status).toBe(200);
    const page = new URL(agent.endpoint(80).url as string).hostname;
    await until('the edge refuses what is beyond it', async () => {
      const asked = await Promise.all(Array.from({ length: 6 }, () => stack.fetchHost(page)));
      return asked.some(({ status }) => status === 429) ? true : undefined;
    });
    const failures = await stack.events('conn.failed.flooded');
    let over = false;
    let refused = 0;
    let mostAtOnce = 0;
    const held = new Set<net.Socket>();
    // Whoever gets in stays and sends without a pause; whoever does not comes again at once.
    const lane = async (): Promise<void> => {
      while (!over) {
        const socket = net.connect(port, '127.0.0.1').on('error', () => {});
        held.add(socket);
        const block = Buffer.alloc(65_536);
        const pump = (): void => {
          while (!socket.destroyed && !over && socket.write(block));
        };
        socket.on('connect', pump).on('drain', pump).resume();
        await new Promise((resolve) => socket.once('close', resolve));
        held.delete(socket);
        if (!over) refused += 1;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const flood = Array.from({ length: 3 * MOST }, lane);
    try {
      await until('places are taken', () => (target.open() > 0 && refused > MOST ? true : undefined));
      for (let visits = 0; visits < 30; visits += 1) {
        expect((await tcpVisitor(witness, `visit ${visits}`)).data.toString()).toBe(`visit ${visits}`);
        mostAtOnce = Math.max(mostAtOnce, target.open());
      }
      expect((await stack.fetchHost('nobody.culvert.localhost')).status).toBe(404);
      expect((await failures.next()).data).toMatchObject({ outcome: 'busy' });
    } finally {
      over = true;
      for (const socket of held) socket.destroy();
      await Promise.all(flood);
    }
    expect(mostAtOnce).toBeLessThanOrEqual(MOST);
    await until('it is served again', async () =>
      (await tcpVisitor(port, 'after')).data.toString() === 'after' ? true : undefined,
    );
    await failures.close();
    await agent.kill();
    await target.close();
    await allIsWell();
  });
});

describe('those who hold places', () => {
  const rssOf = (pid: number): number =>
    Number(/VmRSS:\s+([0-9]+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
  const HOLD_LATE_MS = 30_000;

  it('by silence, or by a head, a body or a TLS handshake that never ends, lose them, at every port but those of the stores', async () => {
    const held = ports.filter(({ name }) => name !== 'nats' && name !== 'redis');
    expect(held.length).toBeGreaterThanOrEqual(2 + 2 * stack.info.services.length - 2);
    const holds = Object.keys(HOLDS) as Hold[];
    await Promise.all(holds.flatMap((hold) => held.map((port) => holdPlace(port, hold, HOLD_LATE_MS))));
    await allIsWell();
  });

  it.each([
    ['edge', 5_000],
    ['ws-ingress-1 itself', 5_000],
    ['tcp-listener-1 itself', 1_000],
  ])('in thousands at %s cost little memory and leave at the deadline', async (name, count) => {
    const service = stack.info.services.find(({ id }) => name.startsWith(id));
    const before = service === undefined ? 0 : rssOf(service.pid);
    const idle = await crowd(portOf(name), count);
    try {
      // Visitors of connected devices need no handshake; all the edge's own clients are served beside the crowd.
      await allIsWell();
      if (name === 'edge') expect((await stack.fetchHost('nobody.culvert.localhost')).status).toBe(404);
      if (service !== undefined) expect(rssOf(service.pid) - before).toBeLessThan(96 * 1024 ** 2);
      await until('all of them have lost their places', () => (idle.open() === 0 ? true : undefined), 45_000);
    } finally {
      idle.leave();
    }
    const one = await dialled();
    await leave(one);
    await allIsWell();
  });
});
