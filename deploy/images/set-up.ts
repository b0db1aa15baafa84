/**
 * Makes the secrets of a system, once, and gives each part its own: passwords, configuration of Redis and NATS with a user for each
 * service, the edge's certificate. Run again it changes nothing but what has become old: rights by this version, a certificate that
 * runs out. As root (with CAP_CHOWN), since every part runs as a user of its own.
 *
 *   CULVERT_SECRETS  where: a folder for each part, readable by its user alone (default /secrets)
 *   CULVERT_DATA     folders to be given to users, such as redis:/data/redis,nats:/data/nats
 *   CULVERT_DOMAIN   what the edge's certificate is for
 *   CULVERT_TLS_DIR  chain.pem and key.pem in there are used; without them an authority of the system's own is made (ca.pem)
 *   CULVERT_TRANSFERS  on: tcp-listener gets them as well, for devices' transfers past the edge
 */
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { loadLimits } from '@culvert/service-kit';
import { writePrivate } from '../local/src/files.ts';
import { ensureLocalTls } from '../local/src/local-ca.ts';
import { Memory } from '../local/src/memory.ts';
import { type NatsUser, natsConfig } from '../local/src/nats.ts';
import { type RedisUser, redisAcl, redisConfig } from '../local/src/redis.ts';
import { SERVICES } from '../local/src/replicas.ts';

/** Users of the images, as deploy/images/Dockerfile has them. */
const USERS: Readonly<Record<string, number>> = {
  'ws-ingress': 10_001,
  'tcp-listener': 10_002,
  'lease-manager': 10_003,
  'port-allocator': 10_004,
  admin: 10_005,
  edge: 10_006,
  redis: 10_007,
  nats: 10_008,
  grafana: 10_009,
  prometheus: 10_011,
  operator: 0,
};

const env = (name: string, fallback: string): string => process.env[name] || fallback;
const secrets = env('CULVERT_SECRETS', '/secrets');
const domain = env('CULVERT_DOMAIN', 'culvert.localhost');
const tlsDir = env('CULVERT_TLS_DIR', '/tls');
const redisAt = env('CULVERT_REDIS_ADDRESS', 'redis:6379');
const natsAt = env('CULVERT_NATS_ADDRESS', 'nats:4222');

mkdirSync(join(secrets, 'operator'), { recursive: true });
chmodSync(secrets, 0o755);
const memory = new Memory(join(secrets, 'operator'));
const redisPassword = (user: RedisUser): string => memory.secret(`redis.${user}`);
const natsPassword = (user: NatsUser): string => memory.secret(`nats.${user}`);
const redisUrl = (user: RedisUser): string => `redis://${user}:${redisPassword(user)}@${redisAt}`;
const natsUrl = (user: NatsUser): string => `nats://${user}:${natsPassword(user)}@${natsAt}`;
const edgeSecret = memory.secret('edge');
const adminToken = memory.secret('admin', 'cva_');

const faults: string[] = [];
const limits = loadLimits(process.env, faults);
if (faults.length > 0) {
  console.error(faults.join('\n'));
  process.exit(2);
}

const certificates = await chain();
const served = { 'chain.pem': readFileSync(certificates.chain, 'utf8'), 'key.pem': readFileSync(certificates.key, 'utf8') };
const published = env('CULVERT_TRANSFERS', 'off') === 'on';
for (const service of SERVICES) {
  give(service, {
    'redis-url': redisUrl(service),
    'nats-url': natsUrl(service),
    ...(service === 'tcp-listener' ? { 'edge-secret': edgeSecret, ...(published ? served : {}) } : {}),
    ...(service === 'admin' ? { 'admin-token': adminToken } : {}),
  });
}
give('redis', {
  'users.acl': redisAcl(redisPassword),
  // Users are told apart by password, so that it may listen in the network of the containers.
  'redis.conf': `${redisConfig('*', 6379, '/data', '/secrets/redis/users.acl')}protected-mode no\n`,
});
give('nats', {
  'nats.conf': natsConfig({ host: '0.0.0.0', port: 4222, name: 'culvert', dir: '/data' }, limits, natsPassword),
});
give('grafana', { password: memory.secret('grafana') });
give('edge', { 'redis-url': redisUrl('edge'), 'edge-secret': edgeSecret, ...served });
give('operator', {
  'admin-token': adminToken,
  ...(certificates.ca === undefined ? {} : { 'ca.pem': readFileSync(certificates.ca, 'utf8') }),
  'nats-integrator': natsUrl('integrator'),
  'nats-auditor': natsUrl('auditor'),
  'nats-operator': natsUrl('operator'),
  'redis-operator': redisUrl('operator'),
});
memory.save();
for (const entry of env('CULVERT_DATA', '').split(',').filter(Boolean)) {
  const [user = '', folder = ''] = entry.split(':');
  ownAll(folder, userId(user));
}
console.log(
  `secrets are in ${secrets}; the edge serves ${certificates.ca === undefined ? 'your certificate' : 'one of its own authority'}`,
);

function userId(user: string): number {
  const id = USERS[user];
  if (id === undefined) throw new Error(`there is no user ${user}; expected one of ${Object.keys(USERS).join(', ')}`);
  return id;
}

/** Files that one user alone may read; those of former versions go. */
function give(user: string, files: Readonly<Record<string, string>>): void {
  const folder = join(secrets, user);
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o700);
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    writePrivate(path, text);
    chownSync(path, userId(user), userId(user));
  }
  if (user !== 'operator') {
    for (const name of readdirSync(folder)) if (files[name] === undefined) rmSync(join(folder, name), { recursive: true });
  }
  chownSync(folder, userId(user), userId(user));
}

/** Folders that are filled already keep what is in them; all of it becomes the user's. */
function ownAll(path: string, id: number): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) ownAll(inner, id);
    else if (entry.isFile()) chownSync(inner, id, id);
  }
  chownSync(path, id, id);
}

async function chain(): Promise<{ chain: string; key: string; ca: string | undefined }> {
  const own = { chain: join(tlsDir, 'chain.pem'), key: join(tlsDir, 'key.pem') };
  if (existsSync(own.chain) && existsSync(own.key)) return { ...own, ca: undefined };
  const { ca, certificate, key } = await ensureLocalTls('openssl', join(secrets, 'operator/tls'), domain);
  return { chain: certificate, key, ca };
}
