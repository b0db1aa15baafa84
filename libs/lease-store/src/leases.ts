import {
  CulvertError,
  DISCONNECT_REASONS,
  type DisconnectReason,
  type Endpoint,
  type ErrorCode,
  type Lease,
  type LeaseState,
  type Limits,
  LOST_FLOOR_MS,
} from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { keys, listenerKeys } from './keys.ts';
import { bracketed, hasRoute, keysOf, registeredOf, type StoredLease, storedLeaseOf } from './records.ts';
import type { AssertedLease } from './recovery.ts';
import { guarded, readAlive, runVerdict, type ScriptReply } from './scripts.ts';

/** What a newcomer brings along. */
export interface Tenure {
  ingress: string;
  control: string;
  boot: string;
  remote: string;
  warm: number;
  transfers: number;
  max_frame: number;
  token_digest: string;
}

export interface BeginRequest {
  /** What the lease must still be: its epoch, 0 for none. */
  expectedEpoch: number;
  /** True for a move and a takeover, which end another's holding. */
  mayBeHeld: boolean;
}

/** `changed`: decide again from the top; `busy`: another tenure of this device is being set up. */
export type BeginResult = { verdict: 'ok'; epoch: number } | { verdict: 'changed' | 'busy' | 'unauthorized' };

export interface ConfirmRequest {
  epoch: number;
  listener: string;
  endpoints: readonly Endpoint[];
  /** Host of route addresses: where the listener binds the ports of http endpoints; IPv6 without brackets. */
  routeHost: string;
}

export type ConnectReason = 'connected' | 'resumed' | 'moved' | 'taken_over';
export type ConfirmResult =
  | { verdict: 'ok'; reason: ConnectReason; former: { state: LeaseState | null; epoch: number; ingress: string } }
  /** Another tenure came between; `boot` is that of its agent. */
  | { verdict: 'stale'; boot: string }
  /** The reservation has run out meanwhile. */
  | { verdict: 'ports_lost'; port: number }
  /** Another device has this host name: make another and try again. */
  | { verdict: 'host_taken'; host: string };

export type ReleaseResult = { verdict: 'ok' | 'unchanged'; state: LeaseState } | { verdict: 'stale' };
export interface AdvanceResult {
  /** Epoch of the tenure that was given up; 0 when none was. */
  abandoned: number;
  step: 'none' | 'grace' | 'extended' | 'expired';
  /** As it was before. */
  former: StoredLease;
}

/** A lease's new place, where its ports are reserved and bound. */
export interface Move {
  reservation: number;
  /** Of the lease; it stays. */
  epoch: number;
  listener: string;
  endpoints: readonly Endpoint[];
  routeHost: string;
  reason: 'listener_gone' | 'wind_down';
}

export type RestoreResult =
  /** It stood, or stands again; `tell`: the listener knows it otherwise, `moved`: the holder does, for it is at another listener. */
  | { verdict: 'ok'; tell: boolean; moved: boolean }
  /** `over`: a tenure of another device that has a port of this one still, and must be over, for its epoch is older. */
  | { verdict: 'lost'; code: ErrorCode; over: { device: string; epoch: number } | undefined }
  /** The store had lost it. An older tenure that was held gave way; epoch 0 when there was none. */
  | { verdict: 'restored'; displaced: { epoch: number; ingress: string } };

/** Devices with fewer transfers at once are not kept warm by the edge's idle connections. */
const KEEPALIVE_TRANSFERS = 8;
/** The longest wait of those that oust each other, in first waits. */
const FLAPPING_MOST = 12;
/** Leases of a list that are read in one transaction: Redis does nothing else meanwhile. */
const READ_TOGETHER = 100;
/** A script that finds the lease changed since the read before it is tried again this often. */
const REREADS = 8;

/** The life of leases. Every method that changes one runs one atomic script, which also writes the events. */
export class Leases {
  readonly #redis: Redis;
  readonly #limits: Limits;

  constructor(redis: Redis, limits: Limits) {
    this.#redis = redis;
    this.#limits = limits;
  }

  async get(device: string): Promise<StoredLease> {
    const [found] = await this.#getAll([device]);
    return found as StoredLease;
  }

  /** All of them in one transaction. */
  async #getAll(devices: readonly string[]): Promise<StoredLease[]> {
    const { values } = await readAlive(this.#redis, (reads) => {
      for (const device of devices) {
        reads
          .hgetall(keys.lease(device))
          .hmget(keys.device(device), 'token_digest', 'next_digest', 'revoked')
          .hget(keys.kept('policy', device), 'value');
      }
      return reads;
    });
    return devices.map((_, index) => {
      const [lease, registry, policy] = values.slice(3 * index, 3 * index + 3);
      return storedLeaseOf(lease as Record<string, string>, registeredOf(registry as (string | null)[], policy as string | null));
    });
  }

  /** Leases in the order of their devices' names, after `cursor`; those of one listener when it is given. */
  async list(options: { cursor?: string | undefined; limit: number; listener?: string | undefined }): Promise<{
    leases: (Pick<StoredLease, 'tokenDigest' | 'registered' | 'seq'> & { lease: Lease })[];
    cursor: string | null;
    store: string;
  }> {
    const index = options.listener === undefined ? keys.leases : keys.leasesOfListener(options.listener);
    const { devices, incarnation } = await this.#page(index, options.cursor, options.limit);
    const records: StoredLease[] = [];
    for (let from = 0; from < devices.length; from += READ_TOGETHER) {
      records.push(...(await this.#getAll(devices.slice(from, from + READ_TOGETHER))));
    }
    return {
      leases: records.flatMap(({ lease, tokenDigest, registered, seq }) =>
        lease === null ? [] : [{ lease, tokenDigest, registered, seq }],
      ),
      cursor: devices.length < options.limit ? null : (devices.at(-1) ?? null),
      store: incarnation,
    };
  }

  /** Devices whose leases an ingress holds, after `cursor`. */
  async heldBy(ingress: string, cursor: string | undefined, limit: number): Promise<string[]> {
    return (await this.#page(keys.leasesOfIngress(ingress), cursor, limit)).devices;
  }

  async #page(index: string, cursor: string | undefined, limit: number): Promise<{ devices: string[]; incarnation: string }> {
    const from = cursor === undefined || cursor === '' ? '-' : `(${cursor}`;
    const { incarnation, values } = await readAlive(this.#redis, (reads) =>
      reads.zrangebylex(index, from, '+', 'LIMIT', 0, limit),
    );
    return { devices: values[0] as string[], incarnation };
  }

  /** Begins a tenure; the lease stays as it is until `confirm`. Unconfirmed, it falls back after TENURE_CONFIRM_MS. */
  async begin(device: string, tenure: Tenure, { expectedEpoch, mayBeHeld }: BeginRequest): Promise<BeginResult> {
    const reply = await runVerdict(this.#redis, 'begin', keysOf(device, await this.get(device)), [
      device,
      expectedEpoch,
      mayBeHeld ? '1' : '0',
      JSON.stringify(tenure),
      this.#limits.TENURE_CONFIRM_MS,
      this.#limits.ACQUIRE_MS,
    ]);
    const [verdict, epoch] = reply;
    if (verdict === 'ok') return { verdict, epoch: Number(epoch) };
    return { verdict: verdict as 'changed' | 'busy' | 'unauthorized' };
  }

  /** The lease is held from now on; ports and names that the former endpoints had alone are freed. */
  async confirm(device: string, { epoch, listener, endpoints, routeHost }: ConfirmRequest): Promise<ConfirmResult> {
    const { reply } = await this.#change(device, 'confirm', {
      more: (stored) => [
        ...endpoints.filter(hasRoute).map(({ host }) => keys.route(host)),
        ...listenerKeys(listener),
        ...(stored.pending === null ? [] : [keys.leasesOfIngress(stored.pending.ingress), keys.instance(stored.pending.ingress)]),
        keys.knownInstances,
      ],
      args: [epoch, listener, JSON.stringify(endpoints), bracketed(routeHost), this.#limits.COOL_DOWN_MS, KEEPALIVE_TRANSFERS],
    });
    const [verdict, first, state, formerEpoch, ingress] = reply;
    if (verdict === 'stale') return { verdict, boot: String(first) };
    if (verdict === 'ports_lost') return { verdict, port: Number(first) };
    if (verdict === 'host_taken') return { verdict, host: String(first) };
    return {
      verdict: 'ok',
      reason: first as ConnectReason,
      former: { state: state === '' ? null : (state as LeaseState), epoch: Number(formerEpoch), ingress: String(ingress) },
    };
  }

  /** Gives an unconfirmed tenure up; false when it is not the pending one any more. */
  async abandon(device: string, epoch: number): Promise<boolean> {
    const { reply } = await this.#change(device, 'abandon', { args: [epoch] });
    return reply[0] === 'ok';
  }

  /** Ends the holding by one control connection. Clean reasons go to grace at once, others to reconnecting first. */
  release(device: string, epoch: number, control: string, reason: DisconnectReason): Promise<ReleaseResult> {
    if (control === '') throw new CulvertError('bad_request', 'control is empty; expected the id of the control connection');
    return this.#release(device, epoch, control, reason);
  }

  /** Ends the holding by an ingress that is gone; `stale` when that very start of the ingress lives after all. */
  releaseGone(device: string, epoch: number): Promise<ReleaseResult> {
    return this.#release(device, epoch, '', 'ingress_gone');
  }

  async #release(device: string, epoch: number, control: string, reason: DisconnectReason): Promise<ReleaseResult> {
    const {
      reply: [verdict, state],
    } = await this.#change(device, 'release', {
      more: ({ lease }) => (lease === null ? [] : [keys.instance(lease.ingress)]),
      args: [
        epoch,
        control,
        reason,
        DISCONNECT_REASONS[reason].clean ? 0 : this.#limits.RECONNECTING_MS,
        this.#limits.GRACE_MS,
        this.#limits.RECORD_SLACK_MS,
      ],
    });
    if (verdict === 'stale') return { verdict };
    return { verdict: verdict as 'ok' | 'unchanged', state: state as LeaseState };
  }

  /** Devices with something due, the most overdue first. */
  async due(limit: number): Promise<string[]> {
    return guarded(async () => {
      const [seconds, micros] = (await this.#redis.time()) as unknown as [string | number, string | number];
      const now = Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
      return this.#redis.zrangebyscore(keys.due, '-inf', now, 'LIMIT', 0, limit);
    });
  }

  /** Does what is due of one lease by the store's clock; nothing when nothing is. */
  async advance(device: string): Promise<AdvanceResult> {
    const {
      reply: [, abandoned, step],
      former,
    } = await this.#change(device, 'advance', {
      more: () => [keys.sweepFloor],
      args: [this.#limits.GRACE_MS, this.#limits.RECORD_SLACK_MS, this.#limits.COOL_DOWN_MS],
    });
    return { abandoned: Number(abandoned), step: step as AdvanceResult['step'], former };
  }

  /** Ends a lease in whatever state; the registry stays. What was there, or null when there is no such device. */
  async end(device: string): Promise<StoredLease | null> {
    const { reply, former } = await this.#change(device, 'end', { args: ['revoked', this.#limits.COOL_DOWN_MS, '', '', ''] });
    return reply[0] === 'ok' ? former : null;
  }

  /** Ends a lease of which it is known that it ended before, in a store that has lost that; false when it is another by now. */
  async endOver(device: string, epoch: number): Promise<boolean> {
    const args = ['connection_broken', this.#limits.COOL_DOWN_MS, '', '', epoch];
    const { reply } = await this.#change(device, 'end', { args });
    return reply[0] === 'ok';
  }

  /** The device's token and lease are dead from now on. What was there, or null when there is no such device. */
  async revoke(device: string): Promise<StoredLease | null> {
    for (let reread = 0; reread < REREADS; reread++) {
      const read = await guarded(() => this.#redis.hmget(keys.device(device), 'token_digest', 'next_digest'));
      const [present, next] = read.map((digest) => digest ?? '');
      if (present === '') return null;
      const tokens = [keys.token(present ?? ''), keys.token(next ?? '')];
      const { reply, former } = await this.#change(device, 'end', {
        more: () => tokens,
        args: ['revoked', this.#limits.COOL_DOWN_MS, ...tokens, ''],
      });
      if (reply[0] !== 'rotated') return reply[0] === 'ok' ? former : null;
    }
    throw new CulvertError('unavailable', `the token of ${device} is being changed by others`, { retryAfterMs: 1_000 });
  }

  /** Writes `device.refused` into the holder's event sequence, unless that holder is gone. */
  async refuse(device: string, epoch: number, code: string, remote: string): Promise<void> {
    await runVerdict(this.#redis, 'refuse', keysOf(device, { lease: null, pending: null }), [device, epoch, code, remote]);
  }

  /**
   * Whether the newcomer and the holder oust each other in turn (boots A, B, A within FLAPPING_WINDOW_MS). Then it must wait,
   * each time longer, and `device.flapping` names both addresses, once in a window.
   * @returns How long it must wait in milliseconds; 0 when it may come in.
   */
  async damp(device: string, boot: string, remote: string): Promise<number> {
    const { FLAPPING_MS: first, FLAPPING_WINDOW_MS: window } = this.#limits;
    const args = [device, boot, remote, window, first, first * FLAPPING_MOST];
    const [, wait] = await runVerdict(this.#redis, 'damp', keysOf(device, { lease: null, pending: null }), args);
    return Number(wait ?? 0);
  }

  /** Begins to move a lease away from its listener: the epoch under which ports may be reserved elsewhere. */
  async beginMove(
    device: string,
    epoch: number,
    from: string,
  ): Promise<{ verdict: 'ok'; reservation: number } | { verdict: 'busy' | 'stale' }> {
    const { reply } = await this.#change(device, 'begin_move', { args: [epoch, from, this.#limits.TENURE_CONFIRM_MS] });
    const [verdict, reservation] = reply;
    return verdict === 'ok' ? { verdict, reservation: Number(reservation) } : { verdict: verdict as 'busy' | 'stale' };
  }

  /** The lease is at another listener from now on; its former ports cool down. */
  async move(device: string, move: Move): Promise<'ok' | 'stale' | 'ports_lost'> {
    const { reply } = await this.#change(device, 'move', {
      more: () => listenerKeys(move.listener),
      args: [
        ...[move.reservation, move.epoch, move.listener, JSON.stringify(move.endpoints), bracketed(move.routeHost)],
        ...[this.#limits.COOL_DOWN_MS, move.reason],
      ],
    });
    return reply[0] as 'ok' | 'stale' | 'ports_lost';
  }

  /** Writes the routes of those of the leases anew that do not lead to this host. How many did not. */
  async readdress(leases: readonly Lease[], listener: string, routeHost: string): Promise<number> {
    const host = bracketed(routeHost);
    const looked = leases.map(async ({ device, endpoints }) => {
      const routes = endpoints.filter(hasRoute);
      const addresses = await guarded(() => Promise.all(routes.map((one) => this.#redis.hget(keys.route(one.host), 'address'))));
      const stale = addresses.some((address, at) => address !== null && address !== `${host}:${routes[at]?.public_port}`);
      if (!stale) return 0;
      const { reply } = await this.#change(device, 'readdress', { args: [listener, host] });
      return reply[0] === 'ok' ? Number(reply[1]) : 0;
    });
    return (await Promise.all(looked)).reduce((sum, count) => sum + count, 0);
  }

  /** Takes over what an instance holds and the store may have lost. The one change that a recovering store accepts. */
  async restore(said: AssertedLease, from: 'ingress' | 'listener', routeHost: string): Promise<RestoreResult> {
    const { device } = said;
    for (let reread = 0; reread < REREADS; reread++) {
      const stored = storedLeaseOf(await guarded(() => this.#redis.hgetall(keys.lease(device))));
      const all = new Set([
        ...keysOf(device, { lease: null, pending: null }),
        keys.recovery,
        ...keysOf(device, stored),
        ...said.endpoints.filter(hasRoute).map(({ host }) => keys.route(host)),
        ...listenerKeys(said.listener),
        ...[keys.leasesOfIngress(said.ingress), keys.instance(said.ingress), keys.knownInstances],
      ]);
      const [verdict, first, second, third] = await runVerdict(
        this.#redis,
        'restore',
        [...all],
        [
          ...[device, JSON.stringify(said), from, bracketed(routeHost), this.#limits.RECONNECTING_MS, this.#limits.GRACE_MS],
          ...[Math.min(LOST_FLOOR_MS, this.#limits.GRACE_MS), this.#limits.RECORD_SLACK_MS, this.#limits.COOL_DOWN_MS],
          KEEPALIVE_TRANSFERS,
        ],
      );
      if (verdict === 'ok') return { verdict, tell: first === 1, moved: (second ?? said.listener) !== said.listener };
      if (verdict === 'lost') {
        const over = second === undefined ? undefined : { device: String(second), epoch: Number(third) };
        return { verdict, code: first as ErrorCode, over };
      }
      if (verdict === 'restored') return { verdict, displaced: { epoch: Number(first), ingress: String(second) } };
    }
    throw new CulvertError('unavailable', `lease of ${device} changes too fast`, { retryAfterMs: 1_000 });
  }

  /** Reads what the lease owns, runs the script with those keys, and again when the lease changed in between. */
  async #change(
    device: string,
    script: string,
    { more = () => [], args }: { more?: (stored: StoredLease) => string[]; args: (string | number)[] },
  ): Promise<{ reply: ScriptReply; former: StoredLease }> {
    for (let reread = 0; reread < REREADS; reread++) {
      const stored = await this.get(device);
      const all = [...new Set([...keysOf(device, stored), ...more(stored)])];
      const reply = await runVerdict(this.#redis, script, all, [device, ...args]);
      if (reply[0] !== 'changed') return { reply, former: stored };
    }
    throw new CulvertError('unavailable', `lease of ${device} changes too fast`, { retryAfterMs: 1_000 });
  }
}
