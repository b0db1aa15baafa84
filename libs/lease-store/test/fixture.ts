import { DEFAULT_LIMITS, type Endpoint, type Limits } from '@culvert/contracts';
import { Redis } from 'ioredis';
import { type ServerProcess, startRedis } from '../../../test/harness/servers.ts';
import { LeaseStore, type OutboxEntry, type Tenure } from '../src/index.ts';

/** A store over a real redis-server of its own. */
export interface StoreFixture {
  redis: Redis;
  store: LeaseStore;
  limits: Limits;
  events(): Promise<OutboxEntry[]>;
  /** Empties the server and starts a new incarnation. */
  reset(): Promise<void>;
  stop(): Promise<void>;
}

export async function startStore(limits: Partial<Limits> = {}): Promise<StoreFixture> {
  const server: ServerProcess = await startRedis();
  const redis = new Redis(server.url, { enableAutoPipelining: true });
  const all = { ...DEFAULT_LIMITS, ...limits };
  const store = new LeaseStore(redis, all);
  await store.recovery.open(0, '');
  return {
    redis,
    store,
    limits: all,
    events: () => store.outbox.read('0', 10_000),
    reset: async () => {
      await redis.flushall();
      await store.recovery.open(0, '');
    },
    stop: async () => {
      redis.disconnect();
      await server.stop();
    },
  };
}

export const LISTENER = 'tcp-listener-1';
export const digest = (device: string): string => Buffer.from(device).toString('hex').padEnd(64, '0').slice(0, 64);

export const tenure = (device: string, more: Partial<Tenure> = {}): Tenure => ({
  ingress: 'ws-ingress-1',
  control: 'c1',
  boot: '',
  remote: '192.0.2.1',
  warm: 0,
  transfers: 256,
  max_frame: 65_536,
  token_digest: digest(device),
  ...more,
});

/** Acquires as the lease-manager does, without listener: begin, reserve what is new, confirm. */
export async function acquire(
  { store }: Pick<StoreFixture, 'store'>,
  device: string,
  more: Partial<Tenure> = {},
  ports: readonly { port: number; scheme: Endpoint['scheme'] }[] = [
    { port: 80, scheme: 'http' },
    { port: 22, scheme: 'tcp' },
  ],
  range: readonly [number, number] = [30_000, 30_009],
): Promise<{ epoch: number; endpoints: Endpoint[] }> {
  const { lease } = await store.leases.get(device);
  const begun = await store.leases.begin(device, tenure(device, more), { expectedEpoch: lease?.epoch ?? 0, mayBeHeld: true });
  if (begun.verdict !== 'ok') throw new Error(`begin: ${begun.verdict}`);
  const { epoch } = begun;
  const same = (spec: { port: number; scheme: string }) =>
    lease?.endpoints.find((one) => one.port === spec.port && one.scheme === spec.scheme);
  const missing = ports.filter((spec) => same(spec) === undefined).length;
  let fresh: number[] = [];
  if (missing > 0) {
    const reserved = await store.ports.reserve({ device, epoch, listener: LISTENER, range, count: missing, unusable: [] });
    if (reserved.verdict !== 'ok') {
      await store.leases.abandon(device, epoch);
      throw new Error(`reserve: ${reserved.verdict}`);
    }
    fresh = reserved.ports;
  }
  const endpoints = ports.map(
    (spec): Endpoint =>
      same(spec) ?? {
        ...spec,
        public_port: fresh.shift() ?? 0,
        ...(spec.scheme === 'tcp' ? {} : { host: `${device}-${spec.port}-${epoch}.culvert.localhost` }),
      },
  );
  const confirmed = await store.leases.confirm(device, { epoch, listener: LISTENER, endpoints, routeHost: '127.0.0.1' });
  if (confirmed.verdict !== 'ok') throw new Error(`confirm: ${confirmed.verdict}`);
  return { epoch, endpoints };
}
