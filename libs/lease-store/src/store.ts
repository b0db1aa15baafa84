import type { Limits } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { countLeases, type LeaseCounts } from './census.ts';
import { Devices } from './devices.ts';
import { Instances } from './instances.ts';
import { Kept } from './kept.ts';
import { Leases } from './leases.ts';
import { Names } from './names.ts';
import { Outbox } from './outbox.ts';
import { Ports } from './ports.ts';
import { Recovery } from './recovery.ts';
import { readAlive } from './scripts.ts';
import { StandIns } from './stand-ins.ts';
import { Succession } from './succession.ts';
import { Usage } from './usage.ts';

/** The lease store over one Redis connection, which the caller owns. */
export class LeaseStore {
  readonly leases: Leases;
  readonly devices: Devices;
  readonly kept: Kept;
  readonly names: Names;
  readonly ports: Ports;
  readonly instances: Instances;
  readonly outbox: Outbox;
  readonly recovery: Recovery;
  readonly standIns: StandIns;
  readonly usage: Usage;
  readonly succession: Succession;
  readonly #redis: Redis;

  constructor(redis: Redis, limits: Limits) {
    this.#redis = redis;
    this.leases = new Leases(redis, limits);
    this.devices = new Devices(redis);
    this.kept = new Kept(redis);
    this.names = new Names(redis, this.leases);
    this.ports = new Ports(redis, limits);
    this.instances = new Instances(redis, limits);
    this.outbox = new Outbox(redis);
    this.recovery = new Recovery(redis, limits);
    this.standIns = new StandIns(redis);
    this.usage = new Usage(redis);
    this.succession = new Succession(redis);
  }

  /** Leases by state, for metrics. */
  counts(): Promise<LeaseCounts> {
    return countLeases(this.#redis);
  }

  /** The random name of this store's life; it begins the id of every event. @throws CulvertError `recovering` */
  async incarnation(): Promise<string> {
    return (await readAlive(this.#redis, (reads) => reads)).incarnation;
  }
}
