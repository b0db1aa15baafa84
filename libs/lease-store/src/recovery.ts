import { randomBytes } from 'node:crypto';
import { CulvertError, type Endpoint, type Lease, type Limits, LOST_FLOOR_MS } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import type { KeptDevice } from './devices.ts';
import { keys } from './keys.ts';
import { guarded, recovering, runVerdict } from './scripts.ts';

/** What an instance asserts: a lease as it knows it. */
export type AssertedLease = Omit<Lease, 'due' | 'endpoints'> & { endpoints: readonly Endpoint[]; token_digest: string | null };

export type RecoveryState =
  /** The store lives under this incarnation. */
  | { state: 'alive'; incarnation: string }
  /** Somebody else rebuilds it. */
  | { state: 'following' }
  /** It is ours to load the registry and to open it. */
  | { state: 'preparing'; incarnation: string }
  /** Instances may re-assert. */
  | { state: 'open'; incarnation: string }
  /** It lives from now on. */
  | { state: 'finished'; incarnation: string; leases: number };

/** An owner that is silent for longer is replaced. */
const OWNER_MS = 3_000;
/** A script that finds the tokens changed since the read before it is tried again this often. */
const REREADS = 3;

/** Rebuilds a store that has lost its data: one step after the other, by whoever is there. */
export class Recovery {
  readonly #redis: Redis;
  readonly #limits: Limits;
  readonly #owner = randomBytes(8).toString('hex');

  constructor(redis: Redis, limits: Limits) {
    this.#redis = redis;
    this.#limits = limits;
  }

  /** Where the rebuilding stands; goes on with it when it is ours and its time has come. */
  step(): Promise<RecoveryState> {
    return this.#step('', 0, '');
  }

  /** The registry is loaded: instances may re-assert for `windowMs`. `previous`: the incarnation that was lost, '' for none. */
  open(windowMs: number, previous: string): Promise<RecoveryState> {
    return this.#step('open', windowMs, previous);
  }

  async #step(command: '' | 'open', windowMs: number, previous: string): Promise<RecoveryState> {
    const all = [keys.incarnation, keys.recovery, keys.outbox, keys.sweepFloor, keys.leases];
    const floor = Math.min(LOST_FLOOR_MS, this.#limits.GRACE_MS);
    const [state, incarnation = '', leases] = await runVerdict(this.#redis, 'recover', all, [
      ...[this.#owner, randomBytes(8).toString('hex'), OWNER_MS, command, windowMs, previous, floor],
    ]);
    return { state, incarnation: String(incarnation), leases: Number(leases) } as RecoveryState;
  }

  /** Which life of the store this is, also of one that is being rebuilt. @throws CulvertError `recovering` before it has one. */
  async life(): Promise<{ incarnation: string; alive: boolean }> {
    const [alive, next] = await guarded(() =>
      Promise.all([this.#redis.get(keys.incarnation), this.#redis.hget(keys.recovery, 'incarnation')]),
    );
    const incarnation = alive ?? next;
    if (incarnation === null) throw recovering();
    return { incarnation, alive: alive !== null };
  }

  /**
   * Puts devices of the kept registry back into a store that is rebuilt, or that may be behind it; answers those whose state it
   * had not. Nothing happens in one that is neither.
   */
  async load(devices: readonly KeptDevice[]): Promise<KeptDevice[]> {
    const loaded = await Promise.all(devices.map((device) => this.#load(device)));
    return devices.filter((_, i) => loaded[i]);
  }

  async #load({ device, token_digest, next_digest = '', created_at, revoked, generation }: KeptDevice): Promise<boolean> {
    for (let reread = 0; reread < REREADS; reread++) {
      const known = await guarded(() => this.#redis.hmget(keys.device(device), 'token_digest', 'next_digest'));
      const [present = '', next = ''] = known.map((digest) => digest ?? '');
      const all = [
        ...[keys.device(device), keys.token(token_digest), keys.devices, keys.recovery, keys.token(next_digest)],
        ...[keys.token(present), keys.token(next)],
      ];
      const args = [device, token_digest, created_at, revoked ? '1' : '0', generation, next_digest, present, next];
      const [verdict] = await runVerdict(this.#redis, 'load_device', all, args);
      if (verdict !== 'changed') return verdict === 'ok';
    }
    throw new CulvertError('unavailable', `the token of ${device} is being changed by others`, { retryAfterMs: 1_000 });
  }
}
