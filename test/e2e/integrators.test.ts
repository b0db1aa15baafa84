import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { connectEvents, type Events } from '@culvert/events';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { tcpVisitor, until } from './support.ts';

const run = promisify(execFile);
const dir = mkdtempSync(join(tmpdir(), 'culvert-integrators-'));
let stack: Stack;
let web: Target;
let events: Events;

beforeAll(async () => {
  stack = await startStack();
  web = await startWebTarget();
  events = await connectEvents(stack.info.nats);
});
afterAll(async () => {
  await events?.close();
  await stack?.stop();
  await web?.close();
  rmSync(dir, { recursive: true, force: true });
});

const connect = async (name: string) =>
  stack.runAgent({ name, token: await stack.addDevice(name), mappings: [`80=127.0.0.1:${web.port}`] });

/** nats-py in a folder of its own; false where it cannot be had. */
const installed = run('python3', ['-m', 'pip', 'install', '--quiet', '--no-input', '--target', join(dir, 'py'), 'nats-py'], {
  timeout: 60_000,
}).then(
  () => true,
  (error: Error) => {
    console.log(`nats-py cannot be had here, so the example in Python is not run: ${error.message.slice(0, 200)}`);
    return false;
  },
);

describe('an integrator with the read-only user', () => {
  it('sees all devices as they are and every change, and reads on by a durable consumer', async () => {
    const agent = await connect('alice');
    const seen: string[] = [];
    for await (const update of events.watchDevices({ deadlineMs: 20_000, signal: AbortSignal.timeout(40_000) })) {
      if (update.kind === 'snapshot') {
        await agent.kill();
        continue;
      }
      if (update.device.device !== 'alice') continue;
      seen.push(update.device.state);
      if (update.device.state === 'grace' && update.device.due !== null) break;
    }
    expect(seen.at(-1)).toBe('grace');
    const types: string[] = [];
    for await (const event of events.consume({
      durable: 'ledger',
      device: 'alice',
      types: ['device.*', 'lease.*'],
      signal: AbortSignal.timeout(20_000),
    })) {
      types.push(event.type);
      if (event.type === 'lease.grace') break;
    }
    expect(types).toEqual(['lease.granted', 'device.connected', 'device.disconnected', 'lease.grace']);
  });

  it('may change neither the bucket of devices nor the registry, and not read the latter', async () => {
    const { nc } = events;
    const denied: string[] = [];
    void (async () => {
      for await (const status of nc.status()) if (status.type === 'error') denied.push(String(status.error));
    })();
    nc.publish('$KV.CULVERT_DEVICES.device.alice', '{}');
    nc.publish('$JS.API.STREAM.MSG.GET.KV_CULVERT_REGISTRY', '{"seq":1}');
    await nc.flush();
    await until('two denials', () => (denied.length === 2 ? true : undefined));
    expect(denied.every((text) => /permissions violation/i.test(text))).toBe(true);
  });

  it('follows by the example in Python, and goes on where it was after a kill', async (context) => {
    if (!(await installed)) return context.skip();
    const follow = (): { child: ChildProcess; lines: () => string[] } => {
      const child = spawn('python3', [fileURLToPath(new URL('../../examples/events/follow.py', import.meta.url)), 'python'], {
        env: { PATH: process.env.PATH, PYTHONPATH: join(dir, 'py'), NATS_URL: stack.info.nats },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
      return { child, lines: () => output.split('\n') };
    };
    await connect('bob');
    const first = follow();
    await until('bob in Python', () => (first.lines().includes('device.connected bob connected') ? true : undefined), 20_000);
    first.child.kill('SIGKILL');
    await connect('carol');
    const second = follow();
    await until(
      'carol in Python',
      () => (second.lines().includes('device.connected carol connected') ? true : undefined),
      50_000,
    );
    expect(second.lines().filter((line) => line.includes('alice'))).toEqual([]);
    second.child.kill('SIGKILL');
  }, 90_000);
});

describe('who watches visitors', () => {
  it('sees requests at the edge under the id that device and visitor got, and tcp visitors, then and later', async () => {
    const token = await stack.addDevice('shop');
    const tcp = await startTcpTarget(echo);
    const agent = await stack.runAgent({
      name: 'shop',
      token,
      mappings: [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${tcp.port}`],
    });
    const { host } = new URL(agent.endpoint(80).url as string);
    const end = new AbortController();
    const feed = await fetch(`${stack.info.admin}/v1/events?device=shop`, {
      headers: { authorization: `Bearer ${stack.info.adminToken}` },
      signal: end.signal,
    });
    let live = '';
    void (async () => {
      for await (const chunk of feed.body ?? []) live += Buffer.from(chunk as Uint8Array).toString();
    })().catch(() => {}); // ended by the abort
    await until('the feed', () => (live.includes('live from now on') ? true : undefined));
    const answer = await request(new URL('/cart?secret=1', stack.info.edge), { headers: { host } });
    await answer.body.dump();
    const id = String(answer.headers['culvert-visitor']);
    await until('the request in the feed', () => (/event: visitor.request\ndata: .*\n/.test(live) ? true : undefined));
    expect(live).toContain(`"id":"${id}"`);
    expect(live).not.toContain('secret');
    const visit = await tcpVisitor(agent.endpoint(7).public_port as number, 'hello');
    expect(visit.data.toString()).toContain('hello');
    const { requests, ...rest } = await until('both in the list', async () => {
      const { body } = await stack.admin('GET', '/v1/devices/shop/visitors');
      const seen = body as { requests: object[]; tcp: object[] };
      return seen.requests.length > 0 && seen.tcp.length > 0 ? seen : undefined;
    });
    expect(requests[0]).toMatchObject({
      id,
      host: host.replace(/:.*/, ''),
      method: 'GET',
      path: '/cart',
      status: answer.statusCode,
      outcome: 'ok',
    });
    expect(rest.tcp[0]).toMatchObject({ port: 7, outcome: 'ok', to_device: 5, to_visitor: 5 });
    const shown = (await stack.culvert('visitors', 'shop')).stdout;
    expect([shown.includes('GET /cart'), shown.includes('tcp:7')]).toEqual([true, true]);
    expect((await stack.culvert('usage', 'shop')).stdout).toContain('TO VISITORS');
    end.abort();
    await tcp.close();
  });
});

it('the command line adds a webhook, says what became of it, and removes it', async () => {
  const refused = await stack.culvert('webhook', 'add', 'http://127.0.0.1:9/');
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('expected an https URL of a public host')]);
  const added = JSON.parse(
    (await stack.culvert('webhook', 'add', 'https://culvert.invalid/hook', '--type', 'lease.*,device.connected', '--json'))
      .stdout,
  );
  expect(added).toMatchObject({ state: 'on', types: ['lease.*', 'device.connected'], secret: expect.stringMatching(/^whsec_/) });
  expect((await stack.culvert('webhook', 'list')).stdout).toContain(added.id);
  const ping = await stack.culvert('webhook', 'ping', added.id);
  expect([ping.code, ping.stdout]).toEqual([1, expect.stringContaining('not taken')]);
  expect((await stack.culvert('webhook', 'dead', added.id)).stdout).toContain('no dead letters');
  expect((await stack.culvert('webhook', 'replay', added.id)).code).toBe(0);
  expect((await stack.culvert('webhook', 'remove', added.id)).code).toBe(0);
  expect((await stack.culvert('webhook', 'list')).stdout).toContain('no webhooks');
});

it('a generator of clients takes the OpenAPI document, and the compiler takes the client', async () => {
  const document = join(dir, 'openapi.json');
  writeFileSync(document, await (await fetch(`${stack.info.admin}/openapi.json`)).text());
  const bin = (name: string): string => fileURLToPath(new URL(`../../node_modules/${name}`, import.meta.url));
  const { stdout: client } = await run(process.execPath, [bin('oazapfts/dist/cli.js'), document], { maxBuffer: 1 << 24 });
  expect(client).toMatch(/export function \w*[dD]evices/);
  const file = join(dir, 'client.ts');
  writeFileSync(file, client);
  writeFileSync(join(dir, 'package.json'), '{"type": "module"}');
  symlinkSync(bin(''), join(dir, 'node_modules'));
  const flags = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--target', 'es2024', '--lib', 'es2024,dom'];
  const roots = ['--types', 'node', '--typeRoots', bin('@types')];
  const compiled = run(process.execPath, [bin('typescript/bin/tsc'), ...flags, ...roots, file], { cwd: dir });
  const faults = await compiled.then(
    () => '',
    ({ stdout }: { stdout: string }) => stdout,
  );
  expect(faults).toBe('');
});
