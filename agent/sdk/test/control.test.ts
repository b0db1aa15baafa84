import { describe, expect, it } from 'vitest';
import { happened, serve, start, until } from './kit.ts';

const mapping = (port: number, scheme: 'http' | 'tcp') => ({ port, scheme, target: { host: '127.0.0.1', port: 1 } });

describe('the control connection', () => {
  it('asks for what was declared, with the token in the Authorization header only', async () => {
    const server = await serve();
    start({ servers: [server.url], mappings: [mapping(80, 'http'), mapping(22, 'tcp')], transfers: 7, maxFrame: 4096 });
    await server.control(0);
    const [handshake] = server.handshakes;
    expect(handshake?.path).toBe('/v1/control');
    expect(Object.fromEntries(handshake?.query ?? [])).toEqual({
      name: 'alice',
      ports: 'http:80,tcp:22',
      transfers: '7',
      warm: '16',
      max_frame: '4096',
      boot: expect.stringMatching(/^[\w-]{22}$/),
    });
    expect(handshake?.headers).toMatchObject({ authorization: 'Bearer device-token', 'sec-websocket-protocol': 'culvert.v1' });
  });

  it('tells every endpoint and then ready with all of them', async () => {
    const server = await serve();
    const { events } = start({ servers: [server.url], mappings: [mapping(80, 'http'), mapping(22, 'tcp')] });
    const ready = await happened(events, 'ready');
    const endpoints = [
      { port: 80, scheme: 'http', url: 'http://x80.culvert.localhost' },
      { port: 22, scheme: 'tcp', host: 'culvert.localhost', publicPort: 20_022 },
    ];
    expect(ready).toMatchObject({ name: 'alice', epoch: 101, resumed: false, graceMs: 3_600_000, endpoints });
    expect(events.map(({ event }) => event)).toEqual(['connecting', 'endpoint', 'endpoint', 'ready']);
  });

  it('tells an endpoint that moves later', async () => {
    const server = await serve();
    const { events } = start({ servers: [server.url], mappings: [mapping(22, 'tcp')] });
    const control = await server.control(0);
    await happened(events, 'ready');
    control.send({ type: 'endpoint', port: 22, host: 'elsewhere.example', public_port: 21_000 });
    expect(await happened(events, 'endpoint', 1)).toMatchObject({ host: 'elsewhere.example', publicPort: 21_000 });
  });

  it('ignores messages of unknown types', async () => {
    const server = await serve();
    const { events } = start({ servers: [server.url], mappings: [mapping(22, 'tcp')] });
    const control = await server.control(0);
    control.send({ type: 'from_the_future', field: 1 });
    control.send({ type: 'endpoint', port: 22, host: 'still.example', public_port: 21_000 });
    expect(await happened(events, 'endpoint', 1)).toMatchObject({ host: 'still.example' });
  });

  it('answers pings, and stays while there are some', async () => {
    const server = await serve({ heartbeatMs: 60 });
    const { events } = start({ servers: [server.url] });
    const control = await server.control(0);
    let pongs = 0;
    control.socket.on('pong', () => pongs++);
    const pings = setInterval(() => control.socket.ping(), 30);
    await until('twelve pongs', () => pongs > 12);
    clearInterval(pings);
    expect(events.filter(({ event }) => event === 'disconnected')).toEqual([]);
  });

  it('is given up and made anew after 2.5 heartbeats of silence', async () => {
    const server = await serve({ heartbeatMs: 40 });
    const { events } = start({ servers: [server.url] });
    await happened(events, 'ready');
    server.freeze();
    expect(await happened(events, 'disconnected')).toMatchObject({ code: 'heartbeat_lost' });
    await happened(events, 'ready', 1);
  });

  it('is given up when the server never says ready', async () => {
    const server = await serve();
    server.greet = false;
    const { events } = start({ servers: [server.url], limits: { HANDSHAKE_MS: 100 } });
    await happened(events, 'disconnected');
    server.greet = true;
    await happened(events, 'ready');
  });

  it('says bye at stop and resolves run', async () => {
    const server = await serve();
    const { agent, events, run } = start({ servers: [server.url] });
    const control = await server.control(0);
    await happened(events, 'ready');
    await agent.stop();
    await run;
    await until('the close', () => control.closed);
    expect(control.messages).toEqual([expect.objectContaining({ type: 'bye' })]);
    expect(control.closed?.code).toBe(1000);
    expect(events.at(-1)).toEqual({ event: 'stopped' });
  });

  it('stops by its signal while the server does not answer', async () => {
    const server = await serve();
    server.greet = false;
    const { agent, events, run } = start({ servers: [server.url] });
    await server.control(0);
    const stop = new AbortController();
    const second = agent.run({ signal: stop.signal });
    stop.abort();
    await Promise.all([run, second]);
    expect(events.at(-1)).toEqual({ event: 'stopped' });
  });
});

describe('connecting again', () => {
  it('goes to the next server when one cannot be reached, and back', async () => {
    const [first, second] = [await serve(), await serve()];
    const { events } = start({ servers: [first.url, second.url] });
    await happened(events, 'ready');
    await first.stop();
    await happened(events, 'ready', 1);
    expect(second.controls).toHaveLength(1);
    const tried = events.filter(({ event }) => event === 'connecting').map(({ server }) => server);
    expect(tried[0]).toBe(first.url);
    expect(tried.at(-1)).toBe(second.url);
  });

  it('keeps its boot id, so that the server can tell a move from a second device', async () => {
    const server = await serve();
    const { events } = start({ servers: [server.url] });
    const control = await server.control(0);
    await happened(events, 'ready');
    control.socket.terminate();
    expect(await happened(events, 'ready', 1)).toMatchObject({ resumed: true });
    const [before, after] = server.handshakes.map(({ query }) => query.get('boot'));
    expect(after).toBe(before);
  });

  it.each([
    [401, 'unauthorized'],
    [403, 'forbidden'],
    [409, 'name_in_use'],
    [503, 'unavailable'],
  ])('tells a refusal with %i and tries again', async (status, code) => {
    const server = await serve();
    server.refusals.push({ status, code, ...(status === 503 ? { retryAfter: 1 } : {}) });
    const { events } = start({ servers: [server.url] });
    expect(await happened(events, 'refused')).toMatchObject({ status, code, message: `refused as ${code}` });
    await happened(events, 'ready');
  });

  it('waits as long as the refusal asks for', async () => {
    const server = await serve();
    server.refusals.push({ status: 503, code: 'recovering', retryAfter: 1 }, { status: 401, code: 'unauthorized' });
    server.refusals.push({ status: 409, code: 'name_in_use' }, { status: 409, code: 'name_in_use' });
    const { events } = start({ servers: [server.url] });
    await happened(events, 'ready');
    const [recovering, unauthorized, conflict, again] = events
      .filter(({ event }) => event === 'refused')
      .map((e) => e.retryInMs as number);
    expect(recovering).toBe(200); // Retry-After, capped
    expect(unauthorized).toBeGreaterThanOrEqual(450); // the slowest pace: 0.75 to 1 of the cap
    expect(conflict).toBeLessThanOrEqual(63); // 5 s, scaled, and a quarter
    expect(again).toBeGreaterThanOrEqual(100); // doubled
  });

  it('asks for the token anew every time', async () => {
    const server = await serve();
    let asked = 0;
    const { events } = start({ servers: [server.url], token: async () => (++asked === 1 ? 'old' : 'device-token') });
    expect(await happened(events, 'refused')).toMatchObject({ code: 'unauthorized' });
    await happened(events, 'ready');
  });

  it('goes on when the token cannot be had', async () => {
    const server = await serve();
    let asked = 0;
    const token = () => {
      if (++asked === 1) throw new Error('no such file');
      return 'device-token';
    };
    const { events } = start({ servers: [server.url], token });
    expect((await happened(events, 'disconnected')).message).toContain('no such file');
    await happened(events, 'ready');
  });

  it('makes the new connection before it drops the old one when the server winds down', async () => {
    const server = await serve();
    const { events } = start({ servers: [server.url] });
    const old = await server.control(0);
    await happened(events, 'ready');
    server.greet = false;
    old.send({ type: 'wind_down', reconnect_ms: 50 });
    const fresh = await server.control(1);
    expect(old.closed).toBeUndefined();
    server.ready(fresh);
    await happened(events, 'ready', 1);
    await until('the old one to be dropped', () => old.closed);
    expect(fresh.closed).toBeUndefined();
    expect(events.filter(({ event }) => event === 'disconnected')).toEqual([]);
    expect(server.handshakes[1]?.query.get('boot')).toBe(server.handshakes[0]?.query.get('boot'));
  });

  it('connects by its usual pace when a server winds down and then breaks before the slot', async () => {
    const server = await serve();
    const { events } = start({ servers: [server.url] });
    const old = await server.control(0);
    await happened(events, 'ready');
    old.send({ type: 'wind_down', reconnect_ms: 3_600_000 });
    old.send({ type: 'endpoint', port: 80, url: 'http://mark.example' });
    await until('the mark', () => events.find(({ url }) => url === 'http://mark.example'));
    old.socket.terminate();
    await happened(events, 'disconnected');
    await happened(events, 'ready', 1);
  });
});
