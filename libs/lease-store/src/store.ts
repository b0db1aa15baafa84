import { randomBytes } from 'node:crypto';
import type { Limits } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { Devices } from './devices.ts';
import { Instances } from './instances.ts';
import { keys } from './keys.ts';
import { Leases } from './leases.ts';
import { Outbox } from './outbox.ts';
import { Ports } from './ports.ts';
import { guarded } from './scripts.ts';

/** The lease store over one Redis connection, which the caller owns. */
export class LeaseStore {
  readonly leases: Leases;
  readonly devices: Devices;
  readonly ports: Ports;
  readonly instances: Instances;
  readonly outbox: Outbox;
  readonly #redis: Redis;

  constructor(redis: Redis, limits: Limits) {
    this.#redis = redis;
    this.leases = new Leases(redis, limits);
    this.devices = new Devices(redis);
    this.ports = new Ports(redis, limits);
    this.instances = new Instances(redis, limits);
    this.outbox = new Outbox(redis);
  }

  /** The random name of this store's life, made by whoever comes first; it begins the id of every event. */
  async incarnation(): Promise<string> {
    return guarded(async () => {
      await this.#redis.set(keys.incarnation, randomBytes(8).toString('hex'), 'NX');
      return (await this.#redis.get(keys.incarnation)) ?? '';
    });
  }
}
