import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { writePrivate } from './files.ts';
import type { Memory } from './memory.ts';
import type { ServiceName } from './replicas.ts';

/** Who may do what in the store. The names are the ACL users. */
export type RedisUser = ServiceName | 'edge' | 'operator';

/** Commands that no key limits: they would tell the names of all keys, or touch what all services have in common. */
const BEYOND_KEYS = '-scan -randomkey -dbsize -function -fcall -fcall_ro -script|flush -script|kill';
/** Commands of a service: everything on its own keys, nothing that reaches beyond them. `info` is how clients see readiness. */
const COMMANDS = `+@read +@write +@connection +@transaction +@scripting +@pubsub +@stream +@fast -@admin -@dangerous +info +time ${BEYOND_KEYS}`;
/** The service that owns the leases and the operators' data. */
const STORE = `~* &* ${COMMANDS}`;
/**
 * Every service reads who is there, and keeps the records of its own instances alive: their ids contain its name, else it does not
 * start. So none can declare an instance of another service gone, or have devices and visitors sent to itself in its place.
 */
const instances = (service: ServiceName): string => `%R~instance:* ~instance:*${service}* ~instance:all %R~store:*`;
/** The services that know leases by command only. */
const INSTANCE = (service: ServiceName): string => `${instances(service)} resetchannels ${COMMANDS}`;
/** The services that devices reach through an edge: it says there when its workers end. */
const BEHIND_EDGE = (service: ServiceName): string => `%R~edge:retired ${INSTANCE(service)}`;
/** Ports, and what it must know of leases to give them out; nothing of devices, tokens or operators. */
const PORTS = `~ports:* ~lease:* ~exhausted:* ~outbox ${INSTANCE('port-allocator')}`;

export const RULES: Readonly<Record<RedisUser, string>> = {
  'lease-manager': STORE,
  'port-allocator': PORTS,
  'ws-ingress': BEHIND_EDGE('ws-ingress'),
  'tcp-listener': BEHIND_EDGE('tcp-listener'),
  admin: `${instances('admin')} %R~visitors:* resetchannels &visitor.requests ${COMMANDS}`,
  // Certificates and their private keys: beside the edge only lease-manager, and the operator, may read them.
  edge: `%R~route:* %R~standin:* %R~cert:* %R~kept:access:* %R~kept:grant:* %R~kept:policy:* %R~kept:domain:* %R~lease:* %R~instance:* %R~store:* %W~visitors:* %W~entered:* %W~edge:retired resetchannels &route.changed &visitor.requests +@read +@connection +@pubsub +@transaction +time +set +lpush +ltrim +pexpire +zadd +zremrangebyscore -@dangerous ${BEYOND_KEYS}`,
  operator: '~* &* +@all',
};

export interface RedisPlan {
  command: string;
  args: string[];
  urlOf(user: RedisUser): string;
  ready(): Promise<boolean>;
}

/** Rights of all users as a file of Redis, with digests in the place of passwords. */
export function redisAcl(password: (user: RedisUser) => string): string {
  const users = Object.entries(RULES).map(([user, rules]) => {
    const digest = createHash('sha256')
      .update(password(user as RedisUser))
      .digest('hex');
    return `user ${user} on #${digest} ${rules}`;
  });
  // Redis replays its append-only file as the user `default`: without rights it would skip every transaction in it, and say so
  // in its log only. `off` keeps everybody from being that user.
  return `user default off ~* &* +@all\n${users.join('\n')}\n`;
}

/** Every acknowledged write is on disk within a second, and nothing is thrown away. */
export const redisConfig = (bind: string, port: number, dir: string, acl: string): string =>
  [
    `bind ${bind}`,
    `port ${port}`,
    'daemonize no',
    `dir ${JSON.stringify(dir)}`,
    `aclfile ${JSON.stringify(acl)}`,
    'appendonly yes',
    'appendfsync everysec',
    'save ""',
    'maxmemory-policy noeviction',
    'shutdown-timeout 5',
    'tcp-backlog 511',
    '',
  ].join('\n');

/** A private Redis whose users are told apart, with every acknowledged write on disk within a second. */
export function planRedis(program: string, stateDir: string, port: number, memory: Memory): RedisPlan {
  const dir = join(stateDir, 'redis');
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const password = (user: RedisUser): string => memory.secret(`redis.${user}`);
  const acl = join(dir, 'users.acl');
  writePrivate(acl, redisAcl(password));
  const config = join(dir, 'redis.conf');
  writePrivate(config, redisConfig('127.0.0.1', port, dir, acl));
  return {
    command: program,
    args: [config],
    urlOf: (user) => `redis://${user}:${password(user)}@127.0.0.1:${port}`,
    ready: () => answers(port, `AUTH operator ${password('operator')}\r\nPING\r\n`, '+OK\r\n+PONG\r\n'),
  };
}

/** Does the server answer the text with exactly that, within a second? While it loads its data it says -LOADING. */
export function answers(port: number, text: string, expected: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    let heard = '';
    const settle = (well: boolean): void => {
      socket.destroy();
      resolve(well);
    };
    socket.setTimeout(1_000, () => settle(false));
    socket.once('error', () => settle(false));
    socket.once('close', () => settle(false));
    socket.once('connect', () => text !== '' && socket.write(text));
    socket.on('data', (chunk) => {
      heard += chunk.toString('latin1');
      if (heard.startsWith(expected)) settle(true);
      else if (heard.length >= expected.length) settle(false);
    });
  });
}
