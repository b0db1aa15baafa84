import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  AUDIT_STREAM,
  AUDIT_SUBJECTS,
  CONN_STREAM,
  CONN_SUBJECTS,
  DEAD_SUBJECTS,
  DEVICES_BUCKET,
  EVENTS_STREAM,
  EVENTS_SUBJECTS,
  type Limits,
} from '@culvert/contracts';
import { writePrivate } from './files.ts';
import type { Memory } from './memory.ts';
import { answers } from './redis.ts';
import type { ServiceName } from './replicas.ts';

/** Who may say and hear what on the bus. `integrator` reads events and nothing else. */
export type NatsUser = ServiceName | 'integrator' | 'auditor' | 'operator';

type Subjects = readonly string[] | { allow: readonly string[]; deny: readonly string[] };
interface Permissions {
  publish: Subjects;
  subscribe: Subjects;
}

/** Replies to integrators and operators, and those to services, which nobody else may overhear. */
const REPLIES = '_INBOX.>';
const SERVICE_REPLIES = '_INBOX_SERVICES.>';
/** What every service answers to and hears: `$SRV` is how NATS services answer `nats micro ls`. */
const ANSWERS = [REPLIES, SERVICE_REPLIES];
const SERVICE = [SERVICE_REPLIES, '$SRV.>', 'cmd.instance.*.wind_down'];
const STREAMS = ['$JS.API.>', '$JS.ACK.>', '$JS.FC.>'];
const EVENTS = [...EVENTS_SUBJECTS, ...CONN_SUBJECTS];

/** What a consumer of a stream needs, and not a word that changes or reads anything else. */
const readStream = (stream: string): string[] => [
  `$JS.API.STREAM.INFO.${stream}`,
  `$JS.API.STREAM.MSG.GET.${stream}`,
  `$JS.API.DIRECT.GET.${stream}`,
  `$JS.API.DIRECT.GET.${stream}.>`,
  `$JS.API.CONSUMER.CREATE.${stream}`,
  `$JS.API.CONSUMER.CREATE.${stream}.>`,
  `$JS.API.CONSUMER.DURABLE.CREATE.${stream}.>`,
  `$JS.API.CONSUMER.INFO.${stream}.>`,
  `$JS.API.CONSUMER.LIST.${stream}`,
  `$JS.API.CONSUMER.NAMES.${stream}`,
  `$JS.API.CONSUMER.MSG.NEXT.${stream}.>`,
  `$JS.ACK.${stream}.>`,
  `$JS.FC.${stream}.>`,
];

/** Whatever reads, changes or ends a stream. */
const wholeStream = (stream: string): string[] => [
  `$JS.API.STREAM.*.${stream}`,
  `$JS.API.STREAM.*.*.${stream}`,
  `$JS.API.DIRECT.GET.${stream}`,
  `$JS.API.DIRECT.GET.${stream}.>`,
  `$JS.API.CONSUMER.*.${stream}`,
  `$JS.API.CONSUMER.*.${stream}.>`,
  `$JS.API.CONSUMER.*.*.${stream}.>`,
];
/** What is appended to the audit log stays there. */
const endsStream = (stream: string): string[] =>
  ['DELETE', 'PURGE', 'MSG.DELETE'].map((verb) => `$JS.API.STREAM.${verb}.${stream}`);
/** Operators' data: digests, keys, the secrets of webhooks. */
const REGISTRY_STREAM = 'KV_CULVERT_REGISTRY';

/** Commands of three tokens: those of the bus that any instance serves. */
export const SHARED_COMMANDS = {
  lease: ['acquire', 'release', 'get', 'list', 'reassert', 'revoke'],
  usage: ['report', 'get'],
  device: ['auth', 'add', 'list', 'show', 'revoke', 'rotate', 'host'],
  enrolment: ['use'],
  record: ['get', 'list', 'put', 'delete'],
  operator: ['check'],
  port: ['allocate', 'lend', 'release', 'fill'],
};

/**
 * `*.*.alice` is all about one device; this keeps everything else out of it. NATS filters a wildcard subscription by those
 * denials only that lie within it: so they have three tokens too, or more, for `*.*.>` is let in as `*.*.*` is.
 */
const NOT_EVENTS = [
  ...['cmd.*.*', '_INBOX_SERVICES.*.*', '$JS.*.*', '$KV.*.*', '$SRV.*.*', '*.*.*.>'],
  // One of these lies within whatever else could catch a command or a record: `*.*.put`, `*.listener.>`.
  ...Object.entries(SHARED_COMMANDS).flatMap(([group, verbs]) => verbs.map((verb) => `cmd.${group}.${verb}`)),
  ...['cmd.listener.>', 'cmd.ingress.>', 'cmd.instance.>', '$KV.CULVERT_REGISTRY.>', '$JS.API.>', '$JS.ACK.>'],
];

export const PERMISSIONS: Readonly<Record<NatsUser, Permissions>> = {
  'lease-manager': {
    publish: {
      allow: [
        ...ANSWERS,
        ...['allocate', 'lend', 'release'].map((verb) => `cmd.port.${verb}`),
        ...['bind', 'unbind', 'cut'].map((verb) => `cmd.listener.*.${verb}`),
        ...['probe', 'missing', 'close', 'endpoints'].map((verb) => `cmd.ingress.*.${verb}`),
        ...EVENTS_SUBJECTS,
        ...STREAMS,
        '$KV.>',
        ...AUDIT_SUBJECTS,
      ],
      deny: endsStream(AUDIT_STREAM),
    },
    subscribe: [...SERVICE, 'cmd.lease.*', 'cmd.device.*', 'cmd.record.*', 'cmd.enrolment.*', 'cmd.usage.*', ...EVENTS],
  },
  'port-allocator': {
    publish: [...ANSWERS, '$JS.API.INFO', ...readStream(EVENTS_STREAM)],
    subscribe: [...SERVICE, 'cmd.port.*', ...EVENTS],
  },
  'ws-ingress': {
    publish: [
      ...ANSWERS,
      'cmd.usage.report',
      ...['acquire', 'release', 'get', 'reassert'].map((verb) => `cmd.lease.${verb}`),
      'cmd.enrolment.use',
      'cmd.listener.*.refused',
    ],
    subscribe: [...SERVICE, 'cmd.ingress.*.*', ...EVENTS],
  },
  'tcp-listener': {
    publish: [
      ...ANSWERS,
      'cmd.usage.report',
      ...['list', 'reassert'].map((verb) => `cmd.lease.${verb}`),
      ...['dial', 'probe', 'close'].map((verb) => `cmd.ingress.*.${verb}`),
      'cmd.operator.check',
      ...CONN_SUBJECTS,
    ],
    subscribe: [...SERVICE, 'cmd.listener.*.*', 'audit.operator.*', 'audit.login.*', ...EVENTS],
  },
  admin: {
    publish: {
      allow: [
        ...ANSWERS,
        ...AUDIT_SUBJECTS,
        ...['add', 'list', 'show', 'revoke', 'rotate', 'host'].map((verb) => `cmd.device.${verb}`),
        ...['get', 'list', 'put', 'delete'].map((verb) => `cmd.record.${verb}`),
        ...DEAD_SUBJECTS,
        '$KV.CULVERT_WEBHOOK_OWNERS.*',
        'cmd.usage.get',
        'cmd.port.fill',
        'cmd.lease.get',
        'cmd.lease.list',
        'cmd.lease.revoke',
        'cmd.listener.*.admit',
        'cmd.listener.*.trace',
        'cmd.ingress.*.probe',
        'cmd.ingress.*.close',
        'cmd.instance.*.wind_down',
        ...STREAMS,
      ],
      deny: [...endsStream(AUDIT_STREAM), `$JS.API.STREAM.UPDATE.${AUDIT_STREAM}`, ...wholeStream(REGISTRY_STREAM)],
    },
    subscribe: [...SERVICE, 'cmd.operator.*', ...EVENTS, ...AUDIT_SUBJECTS],
  },
  /** An integrator who may read the audit entries as well. */
  auditor: {
    publish: [
      '$JS.API.INFO',
      '$JS.API.STREAM.NAMES',
      '$JS.API.STREAM.LIST',
      ...[EVENTS_STREAM, CONN_STREAM, AUDIT_STREAM, `KV_${DEVICES_BUCKET}`].flatMap(readStream),
    ],
    subscribe: { allow: [REPLIES, '*.*.*'], deny: NOT_EVENTS },
  },
  integrator: {
    publish: [
      '$JS.API.INFO',
      '$JS.API.STREAM.NAMES',
      '$JS.API.STREAM.LIST',
      ...[EVENTS_STREAM, CONN_STREAM, `KV_${DEVICES_BUCKET}`].flatMap(readStream),
    ],
    subscribe: { allow: [REPLIES, '*.*.*'], deny: [...NOT_EVENTS, 'audit.*.*'] },
  },
  operator: { publish: ['>'], subscribe: ['>'] },
};

export interface NatsPlan {
  command: string;
  args: string[];
  urlOf(user: NatsUser): string;
  ready(): Promise<boolean>;
}

/** Room beside the stream of conn.* events: device.* and lease.* events, and the operators' data. */
const MORE_DISK_BYTES = 4 * 1024 ** 3;

export interface NatsServer {
  host: string;
  port: number;
  name: string;
  /** Where JetStream keeps its streams. */
  dir: string;
}

/** Configuration of a server with JetStream and a user for each service. Its language takes JSON. */
export function natsConfig({ host, port, name, dir }: NatsServer, limits: Limits, password: (user: NatsUser) => string): string {
  const users = Object.entries(PERMISSIONS).map(([user, permissions]) => ({
    user,
    password: password(user as NatsUser),
    permissions,
  }));
  const config = {
    host,
    port,
    server_name: name,
    max_payload: 1024 * 1024,
    write_deadline: '5s',
    jetstream: {
      store_dir: dir,
      max_memory_store: 64 * 1024 ** 2,
      max_file_store: limits.CONN_EVENTS_BYTES + MORE_DISK_BYTES,
    },
    authorization: { users },
  };
  return JSON.stringify(config, null, 2);
}

/** A private NATS with JetStream and a user for each service. */
export function planNats(program: string, stateDir: string, port: number, limits: Limits, memory: Memory): NatsPlan {
  const dir = join(stateDir, 'nats');
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const password = (user: NatsUser): string => memory.secret(`nats.${user}`);
  const config = join(dir, 'nats.conf');
  writePrivate(config, natsConfig({ host: '127.0.0.1', port, name: 'culvert-local', dir }, limits, password));
  return {
    command: program,
    args: ['-c', config],
    urlOf: (user) => `nats://${user}:${password(user)}@127.0.0.1:${port}`,
    ready: () => answers(port, '', 'INFO '),
  };
}
