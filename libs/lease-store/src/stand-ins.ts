import type { Endpoint, Lease } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { keys } from './keys.ts';
import { bracketed, hasRoute } from './records.ts';
import { guarded, runScript, runVerdict } from './scripts.ts';

/** Who serves the names of a lease while its own listener is started again. */
export interface StandIn {
  listener: string;
  /** The endpoints that have a name, with their public ports there. */
  endpoints: Endpoint[];
  /** For how long it goes on, at least. */
  leftMs: number;
}

type Named = Pick<Lease, 'device' | 'epoch' | 'listener' | 'endpoints'>;

const named = ({ endpoints }: Named): (Endpoint & { host: string })[] => endpoints.filter(hasRoute);
const member = ({ device, listener }: Named): string => `${listener} ${device}`;

/**
 * Listeners that serve the names of leases whose own listener is being started again. A stand-in ends by its TTL, its ports
 * are lent rather than held, and it is good for one epoch: whoever dies, and whatever becomes of the lease, nothing is left.
 */
export class StandIns {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** That of the present tenure, or `whatever` tenure it is of; undefined while there is none. */
  async of(lease: Named, whatever = false): Promise<(StandIn & { epoch: number }) | undefined> {
    const names = named(lease);
    if (names.length === 0) return undefined;
    const found = await Promise.all(
      names.map(async (endpoint) => {
        const key = keys.standIn(endpoint.host);
        const [text, leftMs] = await guarded(() => Promise.all([this.#redis.get(key), this.#redis.pttl(key)]));
        const [epoch, address = '', listener = ''] = text?.split(' ') ?? [];
        const public_port = Number(address.slice(address.lastIndexOf(':') + 1));
        const counts = text !== null && (whatever || Number(epoch) === lease.epoch);
        return counts ? { endpoint: { ...endpoint, public_port }, listener, leftMs, epoch: Number(epoch) } : undefined;
      }),
    );
    const listener = found[0]?.listener;
    const endpoints = found.flatMap((one) => (one?.listener === listener && one !== undefined ? [one.endpoint] : []));
    if (listener === undefined || endpoints.length < names.length) return undefined;
    return {
      listener,
      endpoints,
      epoch: found[0]?.epoch ?? 0,
      leftMs: Math.max(0, Math.min(...found.map((one) => one?.leftMs ?? 0))),
    };
  }

  /** The names are served there from now on; false when the lease is another by now. */
  async begin(lease: Named, { listener, endpoints, leftMs }: StandIn, routeHost: string): Promise<boolean> {
    const names = endpoints.filter(hasRoute);
    const all = [keys.lease(lease.device), keys.standIns, keys.incarnation, ...names.map(({ host }) => keys.standIn(host))];
    const places = names.flatMap(({ host, public_port }) => [host, `${bracketed(routeHost)}:${public_port}`]);
    const args = [lease.device, lease.epoch, lease.listener, leftMs, listener, ...places];
    return (await runVerdict(this.#redis, 'stand_in', all, args))[0] === 'ok';
  }

  /** The own listener serves the names again. */
  async end(lease: Named, epoch: number): Promise<void> {
    const hosts = named(lease).map(({ host }) => host);
    const all = [keys.standIns, ...hosts.map((host) => keys.standIn(host))];
    await runScript(this.#redis, 'stand_down', all, [lease.device, lease.listener, epoch, ...hosts]);
  }

  /** Devices whose names are served elsewhere, with the listener that they had then. */
  async list(): Promise<{ device: string; listener: string }[]> {
    const members = await guarded(() => this.#redis.zrange(keys.standIns, '0', '-1'));
    return members.map((text) => {
      const [listener = '', device = ''] = text.split(' ');
      return { device, listener };
    });
  }

  /** Nothing is left to be ended. */
  async forget(device: string, listener: string): Promise<void> {
    await guarded(() => this.#redis.zrem(keys.standIns, member({ device, listener, epoch: 0, endpoints: [] })));
  }
}
