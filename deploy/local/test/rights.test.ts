import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CommandName as AnyCommand, COMMANDS, subjectOf } from '@culvert/bus';
import { DEFAULT_LIMITS } from '@culvert/contracts';
import { connect as connectNats, type NatsConnection } from '@nats-io/transport-node';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProgram } from '../bin/system.mjs';
import { Memory } from '../src/memory.ts';
import { type NatsUser, planNats } from '../src/nats.ts';
import { freePort } from '../src/ports.ts';
import { planRedis, type RedisUser } from '../src/redis.ts';

const dir = mkdtempSync(join(tmpdir(), 'culvert-rights-'));
const children: ChildProcess[] = [];
let natsUrl: (user: NatsUser) => string;
let redisUrl: (user: RedisUser) => string;

beforeAll(async () => {
  const memory = new Memory(dir);
  const nats = planNats(findProgram('nats-server') ?? 'nats-server', dir, await freePort(), DEFAULT_LIMITS, memory);
  const redis = planRedis('redis-server', dir, await freePort([Number(new URL(nats.urlOf('admin')).port)]), memory);
  for (const plan of [nats, redis]) children.push(spawn(plan.command, plan.args, { stdio: 'ignore' }));
  const until = Date.now() + 20_000;
  while (!((await nats.ready()) && (await redis.ready()))) {
    if (Date.now() > until) throw new Error('NATS and Redis are not ready after 20 s');
    await new Promise((done) => setTimeout(done, 50));
  }
  natsUrl = nats.urlOf;
  redisUrl = redis.urlOf;
}, 30_000);
afterAll(async () => {
  await Promise.all(
    children.map((child) => {
      const exited = new Promise((done) => child.once('exit', done));
      child.kill('SIGKILL');
      return child.exitCode === null && child.signalCode === null ? exited : undefined;
    }),
  );
  rmSync(dir, { recursive: true, force: true });
});

/** Speaks the NATS protocol by hand, in its verbose mode: every line is answered +OK or -ERR. */
class RawNats {
  readonly #socket: Socket;
  readonly #lines: string[] = [];
  #rest = '';
  #wake: () => void = () => {};

  constructor(url: string | undefined, port: number) {
    this.#socket = connect({ host: '127.0.0.1', port });
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      this.#lines.push('closed');
      this.#wake();
    });
    this.#socket.on('data', (chunk) => {
      const lines = (this.#rest + chunk.toString()).split('\r\n');
      this.#rest = lines.pop() ?? '';
      this.#lines.push(...lines.filter((line) => /^(?:\+OK|-ERR)/.test(line)));
      this.#wake();
    });
    const { username = '', password = '' } = url === undefined ? {} : new URL(url);
    const who = url === undefined ? {} : { user: username, pass: password };
    this.#socket.write(`CONNECT ${JSON.stringify({ verbose: true, pedantic: false, ...who })}\r\n`);
  }

  async answer(): Promise<string> {
    const until = Date.now() + 10_000;
    while (this.#lines.length === 0) {
      if (Date.now() > until) throw new Error('NATS says nothing');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 200);
      });
    }
    return this.#lines.shift() as string;
  }

  async may(line: string): Promise<boolean> {
    this.#socket.write(line);
    return !(await this.answer()).startsWith('-ERR');
  }

  close(): void {
    this.#socket.destroy();
  }
}

const SERVICES = ['lease-manager', 'port-allocator', 'ws-ingress', 'tcp-listener', 'admin'] as const;
type Who = (typeof SERVICES)[number] | 'integrator' | 'auditor';
const EVERYBODY: readonly Who[] = [...SERVICES, 'integrator', 'auditor'];

/** Who asks and who serves each command of the bus: the compiler wants all of them here. Everybody else must not. */
const COMMAND_RIGHTS: Record<CommandName, { asks: readonly Who[]; serves: Who }> = {
  'lease.acquire': { asks: ['ws-ingress'], serves: 'lease-manager' },
  'lease.release': { asks: ['ws-ingress'], serves: 'lease-manager' },
  'lease.reassert': { asks: ['ws-ingress', 'tcp-listener'], serves: 'lease-manager' },
  'lease.get': { asks: ['ws-ingress', 'admin'], serves: 'lease-manager' },
  'lease.list': { asks: ['tcp-listener', 'admin'], serves: 'lease-manager' },
  'lease.revoke': { asks: ['admin'], serves: 'lease-manager' },
  'usage.report': { asks: ['ws-ingress', 'tcp-listener'], serves: 'lease-manager' },
  'usage.get': { asks: ['admin'], serves: 'lease-manager' },
  'device.auth': { asks: [], serves: 'lease-manager' },
  'device.add': { asks: ['admin'], serves: 'lease-manager' },
  'device.list': { asks: ['admin'], serves: 'lease-manager' },
  'device.show': { asks: ['admin'], serves: 'lease-manager' },
  'device.revoke': { asks: ['admin'], serves: 'lease-manager' },
  'device.rotate': { asks: ['admin'], serves: 'lease-manager' },
  'device.host': { asks: ['admin'], serves: 'lease-manager' },
  'enrolment.use': { asks: ['ws-ingress'], serves: 'lease-manager' },
  'record.get': { asks: ['admin'], serves: 'lease-manager' },
  'record.list': { asks: ['admin'], serves: 'lease-manager' },
  'record.put': { asks: ['admin'], serves: 'lease-manager' },
  'record.delete': { asks: ['admin'], serves: 'lease-manager' },
  'operator.check': { asks: ['tcp-listener'], serves: 'admin' },
  'port.allocate': { asks: ['lease-manager'], serves: 'port-allocator' },
  'port.lend': { asks: ['lease-manager'], serves: 'port-allocator' },
  'port.fill': { asks: ['admin'], serves: 'port-allocator' },
  'port.release': { asks: ['lease-manager'], serves: 'port-allocator' },
  'listener.bind': { asks: ['lease-manager'], serves: 'tcp-listener' },
  'listener.unbind': { asks: ['lease-manager'], serves: 'tcp-listener' },
  'listener.cut': { asks: ['lease-manager'], serves: 'tcp-listener' },
  'listener.refused': { asks: ['ws-ingress'], serves: 'tcp-listener' },
  'listener.admit': { asks: ['admin'], serves: 'tcp-listener' },
  'listener.trace': { asks: ['admin'], serves: 'tcp-listener' },
  'ingress.dial': { asks: ['tcp-listener'], serves: 'ws-ingress' },
  'ingress.probe': { asks: ['lease-manager', 'tcp-listener', 'admin'], serves: 'ws-ingress' },
  'ingress.missing': { asks: ['lease-manager'], serves: 'ws-ingress' },
  'ingress.close': { asks: ['lease-manager', 'tcp-listener', 'admin'], serves: 'ws-ingress' },
  'ingress.endpoints': { asks: ['lease-manager'], serves: 'ws-ingress' },
};
/** `instance.wind_down` is served by every service. */
type CommandName = Exclude<AnyCommand, 'instance.wind_down'>;
const commands = Object.entries(COMMAND_RIGHTS) as [CommandName, (typeof COMMAND_RIGHTS)[CommandName]][];
const subject = (command: CommandName): string => subjectOf(command, COMMANDS[command].to === 'instance' ? 'x-1' : undefined);

/** Who may say what; everybody else must not. */
const MAY_PUBLISH: Record<string, readonly Who[]> = {
  ...Object.fromEntries(commands.map(([command, { asks }]) => [subject(command), asks])),
  'cmd.instance.x-1.wind_down': ['admin'],
  'cmd.lease.anything': [],
  'cmd.device.anything': [],
  'cmd.listener.x-1.anything': [],
  'cmd.ingress.x-1.anything': [],
  'device.connected.alice': ['lease-manager'],
  'lease.expired.alice': ['lease-manager'],
  'ports.exhausted.tcp-listener-1': ['lease-manager'],
  'store.recovered.x': ['lease-manager'],
  'conn.closed.alice': ['tcp-listener'],
  'audit.device.revoke': ['lease-manager', 'admin'],
  '$KV.CULVERT_REGISTRY.device.alice': ['lease-manager'],
  '$JS.API.STREAM.DELETE.CULVERT_EVENTS': ['lease-manager', 'admin'],
  '$JS.API.STREAM.DELETE.CULVERT_AUDIT': [],
  '$JS.API.STREAM.PURGE.CULVERT_AUDIT': [],
  '$JS.API.STREAM.MSG.DELETE.CULVERT_AUDIT': [],
  '$JS.API.STREAM.MSG.GET.CULVERT_AUDIT': ['lease-manager', 'admin', 'auditor'],
  '$JS.API.STREAM.MSG.GET.KV_CULVERT_REGISTRY': ['lease-manager'],
  '$JS.API.DIRECT.GET.KV_CULVERT_REGISTRY.$KV.CULVERT_REGISTRY.kept.operator.x': ['lease-manager'],
  '$JS.API.CONSUMER.CREATE.KV_CULVERT_REGISTRY': ['lease-manager'],
  '$JS.API.CONSUMER.DURABLE.CREATE.KV_CULVERT_REGISTRY.mine': ['lease-manager'],
  '$JS.API.STREAM.CREATE.MINE': ['lease-manager', 'admin'],
  '$SYS.REQ.SERVER.PING': [],
};

/** Who may hear what. */
const MAY_SUBSCRIBE: Record<string, readonly Who[]> = {
  ...Object.fromEntries(commands.map(([command, { serves }]) => [subject(command), [serves]])),
  'cmd.instance.x-1.wind_down': SERVICES,
  'audit.device.revoke': ['admin', 'auditor'],
  '_INBOX_SERVICES.>': SERVICES,
  'device.connected.*': EVERYBODY,
  '$KV.CULVERT_REGISTRY.>': [],
  '$KV.CULVERT_REGISTRY.*.*': [],
  'cmd.listener.>': [],
  '$SYS.>': [],
  '>': [],
};

describe('on the bus', () => {
  it.each(EVERYBODY)('%s may say and hear what is its own, and nothing else', async (who) => {
    const nats = new RawNats(natsUrl(who), Number(new URL(natsUrl(who)).port));
    try {
      expect(await nats.answer()).toBe('+OK');
      for (const [subject, allowed] of Object.entries(MAY_PUBLISH)) {
        expect([who, 'says', subject, await nats.may(`PUB ${subject} 0\r\n\r\n`)]).toEqual([
          who,
          'says',
          subject,
          allowed.includes(who),
        ]);
      }
      let sid = 0;
      for (const [subject, allowed] of Object.entries(MAY_SUBSCRIBE)) {
        sid += 1;
        const may = await nats.may(`SUB ${subject} ${sid}\r\n`);
        expect([who, 'hears', subject, may]).toEqual([who, 'hears', subject, allowed.includes(who)]);
      }
    } finally {
      nats.close();
    }
  });

  it.each(['integrator', 'auditor'] as const)(
    '%s hears events and no command, reply or record, whatever it subscribes to',
    async (who) => {
      const open = (user: NatsUser): Promise<NatsConnection> => {
        const { host, username, password } = new URL(natsUrl(user));
        return connectNats({ servers: host, user: username, pass: password });
      };
      const mouth = await open('operator');
      const secret = [
        ...['cmd.listener.tcp-listener-1.bind', 'cmd.device.add', 'cmd.record.put', '$KV.CULVERT_REGISTRY.device.alice'],
        ...['$KV.CULVERT_REGISTRY.kept.webhook.x', '_INBOX_SERVICES.abc.def', '$JS.API.STREAM.NAMES'],
      ];
      const events = who === 'auditor' ? ['audit.device.revoke', 'device.connected.alice'] : ['device.connected.alice'];
      const wide = [
        '*.*.*',
        '*.*.>',
        '>',
        'cmd.>',
        '*.*.put',
        '*.*.add',
        '*.record.*',
        '*.listener.>',
        '$KV.>',
        '*.CULVERT_REGISTRY.>',
      ];
      for (const subject of [...wide, '*.API.>', 'audit.>']) {
        const ear = await open(who); // one at a time: what filters one subscription of a client filters all of them
        const heard: string[] = [];
        ear.subscribe(subject, { callback: (error, message) => void (error === null && heard.push(message.subject)) });
        await ear.flush();
        for (const one of [...secret, 'audit.device.revoke', 'device.connected.alice']) mouth.publish(one, 'x');
        await mouth.flush();
        await ear.flush();
        expect([subject, heard.filter((one) => !events.includes(one))]).toEqual([subject, []]);
        if (subject === '*.*.*') expect(heard.sort()).toEqual(events);
        await ear.close();
      }
      await mouth.close();
    },
  );

  it('nobody is anonymous, and a wrong password is refused', async () => {
    const { port, username } = new URL(natsUrl('admin'));
    for (const url of [undefined, `nats://${username}:wrong@127.0.0.1`]) {
      const nats = new RawNats(url, Number(port));
      expect(await nats.answer()).toMatch(/^-ERR 'Authorization Violation'/);
      nats.close();
    }
  });
});

const INSTANCES = ['port-allocator', 'ws-ingress', 'tcp-listener', 'admin'] as const;
/** Keys of every family, and who may read and write them beside lease-manager. */
const KEYS: Record<string, { read: readonly RedisUser[]; write: readonly RedisUser[] }> = {
  'device:alice': { read: [], write: [] },
  'token:0123': { read: [], write: [] },
  'kept:operator:alice': { read: [], write: [] },
  'kept:enrolment:x': { read: [], write: [] },
  'kept:login:x': { read: [], write: [] },
  'kept:webhook:x': { read: [], write: [] },
  'kept:policy:alice': { read: ['edge'], write: [] },
  'kept:access:alice': { read: ['edge'], write: [] },
  'kept:grant:alice.x': { read: ['edge'], write: [] },
  'kept:domain:x.example': { read: ['edge'], write: [] },
  'cert:x.example': { read: ['edge'], write: [] },
  'keeping:unmirrored': { read: [], write: [] },
  'keeping:index:operator': { read: [], write: [] },
  'usage:alice:20000': { read: [], write: [] },
  'visitors:alice': { read: ['admin'], write: ['edge'] },
  'entered:x': { read: [], write: ['edge'] },
  'edge:retired': { read: ['ws-ingress', 'tcp-listener'], write: ['edge'] },
  'lease:alice': { read: ['port-allocator', 'edge'], write: ['port-allocator'] },
  'leases:due': { read: [], write: [] },
  'leases:listener:x-1': { read: [], write: [] },
  'ports:tcp-listener-1': { read: ['port-allocator'], write: ['port-allocator'] },
  'exhausted:tcp-listener-1': { read: ['port-allocator'], write: ['port-allocator'] },
  outbox: { read: ['port-allocator'], write: ['port-allocator'] },
  'route:x.culvert.localhost': { read: ['edge'], write: [] },
  'instance:all': { read: [...INSTANCES, 'edge'], write: INSTANCES },
  'instance:x-1': { read: [...INSTANCES, 'edge'], write: [] },
  'instance:lease-manager-1': { read: [...INSTANCES, 'edge'], write: [] },
  ...Object.fromEntries(
    INSTANCES.flatMap((service) => {
      const own = { read: [...INSTANCES, 'edge'] as const, write: [service] };
      return [`${service}-1`, `culvert-${service}-7`, `gone:${service}-1`, `index:${service}`].map((id) => [
        `instance:${id}`,
        own,
      ]);
    }),
  ),
  'store:incarnation': { read: [...INSTANCES, 'edge'], write: [] },
  'store:primary': { read: [...INSTANCES, 'edge'], write: [] },
  anything: { read: [], write: [] },
};

describe('in the store', () => {
  const users: readonly RedisUser[] = ['port-allocator', 'ws-ingress', 'tcp-listener', 'admin', 'edge'];

  it.each(users)('%s may read and write its own keys, and nothing else', async (user) => {
    const redis = new Redis(redisUrl(user), { enableReadyCheck: false });
    redis.on('error', () => {});
    const may = async (work: Promise<unknown>): Promise<boolean> =>
      work.then(
        () => true,
        (error: Error) => {
          if (error.message.startsWith('NOPERM')) return false;
          if (error.message.startsWith('WRONGTYPE')) return true;
          throw error;
        },
      );
    try {
      for (const [key, { read, write }] of Object.entries(KEYS)) {
        expect([user, 'reads', key, await may(redis.dump(key))]).toEqual([user, 'reads', key, read.includes(user)]);
        // Of the kind that the edge has as well, which may not delete.
        expect([user, 'writes', key, await may(redis.set(key, 'x'))]).toEqual([user, 'writes', key, write.includes(user)]);
      }
      for (const command of [
        ['FLUSHALL'],
        ['FLUSHDB'],
        ['SAVE'],
        ['MONITOR'],
        ['CLIENT', 'LIST'],
        ['REPLICAOF', 'NO', 'ONE'],
        ['SCRIPT', 'FLUSH'],
        ['FUNCTION', 'LIST'],
        ['SCAN', '0'],
        ['RANDOMKEY'],
        ['DBSIZE'],
        ['MIGRATE', '127.0.0.1', '1', 'x', '0', '1'],
        ['SUBSCRIBE', 'any.channel'],
        ['CONFIG', 'GET', '*'],
        ['ACL', 'LIST'],
        ['KEYS', '*'],
        ['SHUTDOWN'],
        ['PUBLISH', 'any.channel', 'x'],
        ['EVAL', "return redis.call('GET', KEYS[1])", '1', 'device:alice'],
      ] as [string, ...string[]][]) {
        const [name, ...args] = command;
        expect([user, name, await may(redis.call(name, ...args))]).toEqual([user, name, false]);
      }
    } finally {
      redis.disconnect();
    }
  });

  it('nobody is anonymous', async () => {
    const redis = new Redis({ host: '127.0.0.1', port: Number(new URL(redisUrl('admin')).port), enableReadyCheck: false });
    redis.on('error', () => {});
    await expect(redis.get('store:incarnation')).rejects.toThrow(/NOAUTH/);
    redis.disconnect();
  });
});
