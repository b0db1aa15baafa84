import type { Endpoint, LeaseState } from '@culvert/contracts';
import { expect } from 'vitest';
import { keys, type OutboxEntry } from '../src/index.ts';
import { LISTENER, type StoreFixture, tenure } from './fixture.ts';
import { replay } from './replay.ts';
import { DEVICES, type Device, type Step } from './steps.ts';

export const RANGE = [30_000, 30_006] as const;

interface ModelLease {
  state: LeaseState;
  epoch: number;
  control: string;
  boot: string;
  endpoints: Endpoint[];
  /** Held when the store was lost; its ingress has not said so yet. */
  unseen?: boolean;
}
interface ModelPending {
  epoch: number;
  boot: string;
  patient: boolean;
  ports: number[];
}
interface ModelDevice {
  lease: ModelLease | undefined;
  pending: ModelPending | undefined;
  lastEpoch: number;
  tokens: number;
}

interface Remembered {
  epoch: number;
  boot: string;
  control: string;
  ports: number[];
  granted?: boolean;
}

/** The simple truth that the store is compared with after every step. */
export class World {
  readonly #f: StoreFixture;
  readonly #devices = new Map<Device, ModelDevice>();
  readonly #cooling = new Set<number>();
  /** Ports that serve the names of a lease for a while, by whose they are. */
  readonly #lent = new Map<number, { device: Device; epoch: number }>();
  /** Events of the store's former lives. */
  readonly #past: OutboxEntry[] = [];
  /** What an actor remembers of its tenures of a device, the newest first, however stale. */
  readonly #memory = new Map<string, Remembered[]>();

  constructor(fixture: StoreFixture) {
    this.#f = fixture;
  }

  async start(): Promise<void> {
    await this.#f.reset();
    await this.#f.store.ports.register(LISTENER, RANGE);
    for (const device of DEVICES) {
      this.#devices.set(device, { lease: undefined, pending: undefined, lastEpoch: 0, tokens: 0 });
      await this.#f.store.devices.add(device, this.#digest(device));
    }
  }

  #of(device: Device): ModelDevice {
    const found = this.#devices.get(device);
    if (found === undefined) throw new Error(device);
    return found;
  }

  #digest(device: Device): string {
    return Buffer.from(`${device}.${this.#of(device).tokens}`)
      .toString('hex')
      .padEnd(64, '0');
  }

  #free(): number {
    const used = [...this.#devices.values()].flatMap(({ lease, pending }) => [
      ...(lease?.endpoints.map((one) => one.public_port) ?? []),
      ...(pending?.ports ?? []),
    ]);
    return RANGE[1] - RANGE[0] + 1 - this.#cooling.size - this.#lent.size - used.length;
  }

  async run(step: Step): Promise<void> {
    switch (step.do) {
      case 'begin':
        return this.#begin(step);
      case 'reserve':
        return this.#reserve(step);
      case 'confirm':
        return this.#confirm(step);
      case 'connect':
        await this.#begin({ ...step, do: 'begin', mayBeHeld: true, stale: false });
        await this.#reserve({ ...step, do: 'reserve', unusable: false });
        return this.#confirm({ ...step, do: 'confirm' });
      case 'clock back':
        await this.#f.redis.hincrby(keys.device(step.device), 'last_epoch', 5_000);
        this.#of(step.device).lastEpoch = Number(await this.#f.redis.hget(keys.device(step.device), 'last_epoch'));
        return;
      case 'abandon':
        return this.#abandon(step);
      case 'release':
        return this.#release(step);
      case 'advance':
        return this.#advance(step);
      case 'give up waiting':
        return this.#giveUpWaiting(step);
      case 'revoke':
        return this.#revoke(step);
      case 'cool down':
        for (const port of this.#lent.keys()) this.#cooling.add(port); // their time is over before they have cooled down
        this.#lent.clear();
        for (const key of await this.#f.redis.keys('standin:*')) await this.#f.redis.del(key);
        for (const port of this.#cooling) await this.#f.redis.zadd(keys.freePorts(LISTENER), 0, String(port));
        this.#cooling.clear();
        return;
      case 'move':
        return this.#move(step);
      case 'stand in':
        return this.#standIn(step);
      case 'stand down':
        return this.#standDown(step);
      case 'lose':
        return this.#lose(step);
      case 'reassert':
        return this.#reassert(step);
    }
  }

  async #move({ device, until }: Step & { do: 'move' }): Promise<void> {
    const model = this.#of(device);
    const { lease } = model;
    const { leases, ports } = this.#f.store;
    const begun = await leases.beginMove(device, lease?.epoch ?? 1, LISTENER);
    if (lease === undefined || model.pending !== undefined) {
      return expect(begun.verdict).toBe(lease === undefined ? 'stale' : 'busy');
    }
    if (begun.verdict !== 'ok') throw new Error(`beginMove: ${begun.verdict}`);
    const { reservation } = begun;
    expect(reservation).toBeGreaterThan(model.lastEpoch);
    model.lastEpoch = reservation;
    model.pending = { epoch: reservation, boot: lease.boot, patient: true, ports: [] };
    if (until === 'begun') return;
    const count = lease.endpoints.length;
    const free = this.#free();
    const reserved = await ports.reserve({ device, epoch: reservation, listener: LISTENER, range: RANGE, count, unusable: [] });
    if (free < count) return expect(reserved).toEqual({ verdict: 'exhausted', free });
    if (reserved.verdict !== 'ok') throw new Error(`reserve: ${reserved.verdict}`);
    model.pending.ports = reserved.ports;
    if (until === 'reserved') return;
    const endpoints = lease.endpoints.map((one, i) => ({ ...one, public_port: reserved.ports[i] ?? 0 }));
    const place = { listener: LISTENER, endpoints, routeHost: '127.0.0.1', reason: 'listener_gone' as const };
    expect(await leases.move(device, { reservation, epoch: lease.epoch, ...place })).toBe('ok');
    for (const one of lease.endpoints) this.#cooling.add(one.public_port);
    model.lease = { ...lease, endpoints };
    model.pending = undefined;
  }

  /** The names of a lease are served on ports that nobody holds; an older tenure's are not. */
  async #standIn({ device, until }: Step & { do: 'stand in' }): Promise<void> {
    const { lease } = this.#of(device);
    const { ports, standIns, leases } = this.#f.store;
    const stored = (await leases.get(device)).lease;
    const names = stored?.endpoints.filter(({ host }) => host !== undefined) ?? [];
    if (lease === undefined || stored === null || names.length === 0) return;
    const free = this.#free();
    const lent = await ports.lend(LISTENER, names.length, 60_000);
    if (free - names.length < 1) return expect(lent).toBeNull(); // a tenth of seven stays free
    if (lent === null) throw new Error(`nothing was lent of ${free}`);
    for (const port of lent) this.#lent.set(port, { device, epoch: lease.epoch });
    if (until === 'lent') return;
    const endpoints = names.map((one, i) => ({ ...one, public_port: lent[i] ?? 0 }));
    const said = { ...stored, epoch: stored.epoch - (until === 'stale' ? 1 : 0) };
    const begun = await standIns.begin(said, { listener: 'tcp-listener-2', endpoints, leftMs: 60_000 }, '127.0.0.1');
    expect(begun).toBe(until !== 'stale');
    if (begun) expect(await standIns.of(stored)).toMatchObject({ listener: 'tcp-listener-2', endpoints });
  }

  async #standDown({ device }: Step & { do: 'stand down' }): Promise<void> {
    const { lease } = await this.#f.store.leases.get(device);
    if (lease === null) return;
    await this.#f.store.standIns.end(lease, lease.epoch);
    expect(await this.#f.store.standIns.of(lease)).toBeUndefined();
  }

  /** What stands in serves the tenure that it was begun for, on a port that nobody else can have. */
  async #checkStandIns(held: Record<string, string>): Promise<void> {
    const { redis, store } = this.#f;
    for (const key of await redis.keys('standin:*')) {
      const [epoch, address = ''] = ((await redis.get(key)) ?? '').split(' ');
      const port = Number(address.split(':')[1]);
      expect(this.#lent.get(port)?.epoch).toBe(Number(epoch));
      expect(held).not.toHaveProperty(String(port));
      expect(await redis.pttl(key)).toBeGreaterThan(0);
    }
    for (const [device, { lease }] of this.#devices) {
      const stored = (await store.leases.get(device)).lease;
      const found = stored === null ? undefined : await store.standIns.of(stored);
      for (const { public_port } of found?.endpoints ?? [])
        expect(this.#lent.get(public_port)).toEqual({ device, epoch: lease?.epoch });
    }
  }

  async #lose({ silent, listenersFirst }: Step & { do: 'lose' }): Promise<void> {
    const { redis, store } = this.#f;
    const now = Date.now();
    // Epochs ahead of the clock are forgotten with the store.
    if ([...this.#devices.values()].some(({ lastEpoch }) => lastEpoch > now)) return;
    this.#past.push(...(await this.#f.events()));
    const kept = await Promise.all(DEVICES.map((device) => store.devices.kept(device)));
    const stored = await Promise.all(DEVICES.map((device) => store.leases.get(device)));
    await redis.flushall();
    expect((await store.recovery.step()).state).toBe('preparing');
    await store.recovery.load(kept.filter((one) => one !== null));
    expect((await store.recovery.open(60_000, 'former')).state).toBe('open');
    await expect(store.leases.get(DEVICES[0])).rejects.toMatchObject({ code: 'recovering' });

    const listeners = async (): Promise<void> => {
      for (const { lease, tokenDigest } of stored) {
        if (lease === null) continue;
        const said = { ...lease, control: '', boot: '', remote: '', token_digest: tokenDigest };
        expect((await store.leases.restore(said, 'listener', '127.0.0.1')).verdict).not.toBe('lost');
      }
      await store.ports.register(LISTENER, RANGE);
    };
    const ingresses = async (): Promise<void> => {
      for (const { lease, tokenDigest } of stored) {
        if (silent || lease?.state !== 'held') continue;
        const said = { ...lease, rev: 0, token_digest: tokenDigest };
        expect((await store.leases.restore(said, 'ingress', '127.0.0.1')).verdict).not.toBe('lost');
      }
    };
    for (const say of listenersFirst ? [listeners, ingresses] : [ingresses, listeners]) await say();
    await redis.hset(keys.recovery, 'until', 1);
    expect((await store.recovery.step()).state).toBe('finished');
    await redis.del(keys.sweepFloor); // else no lease would expire here for two minutes

    this.#cooling.clear();
    this.#lent.clear();
    for (const model of this.#devices.values()) {
      model.pending = undefined;
      model.lastEpoch = model.lease?.epoch ?? 0;
      if (model.lease === undefined || (model.lease.state === 'held' && !silent)) continue;
      const wasHeld = model.lease.state === 'held';
      const unseen = model.lease.state !== 'grace';
      model.lease = { ...model.lease, control: '', boot: '', unseen, state: wasHeld ? 'reconnecting' : model.lease.state };
    }
  }

  async #reassert({ actor, device, age }: Step & { do: 'reassert' }): Promise<void> {
    const mine = this.#memory.get(actor + device)?.[age];
    const { lease } = this.#of(device);
    const { lease: stored, tokenDigest } = await this.#f.store.leases.get(device);
    if (mine?.granted !== true || lease === undefined || stored === null || mine.epoch > lease.epoch) return;
    const said = { ...stored, epoch: mine.epoch, control: mine.control, boot: mine.boot, state: 'held' as const, rev: 0 };
    const { verdict } = await this.#f.store.leases.restore({ ...said, token_digest: tokenDigest }, 'ingress', '127.0.0.1');
    const same = mine.epoch === lease.epoch;
    if (same && lease.unseen === true) {
      expect(verdict).toBe('ok');
      Object.assign(lease, { state: 'held', control: mine.control, boot: mine.boot, unseen: false });
    } else expect(verdict).toBe(same && lease.state === 'held' ? 'ok' : 'lost');
  }

  async #begin({ actor, device, boot, mayBeHeld, stale }: Step & { do: 'begin' }): Promise<void> {
    const model = this.#of(device);
    const control = actor; // the epoch alone must tell tenures apart
    const result = await this.#f.store.leases.begin(
      device,
      tenure(device, { boot, control, token_digest: this.#digest(device) }),
      {
        expectedEpoch: (model.lease?.epoch ?? 0) + (stale ? 1 : 0),
        mayBeHeld,
      },
    );
    if (stale || (model.lease?.state === 'held' && !mayBeHeld)) return expect(result.verdict).toBe('changed');
    if (model.pending?.patient && (boot === '' || boot !== model.pending.boot)) return expect(result.verdict).toBe('busy');
    if (result.verdict !== 'ok') throw new Error(`begin: ${result.verdict}`);
    expect(result.epoch).toBeGreaterThan(model.lastEpoch);
    model.lastEpoch = result.epoch;
    model.pending = { epoch: result.epoch, boot, patient: true, ports: [] };
    const before = this.#memory.get(actor + device) ?? [];
    this.#memory.set(actor + device, [{ epoch: result.epoch, boot, control, ports: [] }, ...before]);
  }

  async #reserve({ actor, device, count, unusable }: Step & { do: 'reserve' }): Promise<void> {
    const mine = this.#memory.get(actor + device)?.[0];
    if (mine === undefined) return;
    const { pending } = this.#of(device);
    const aside = unusable ? mine.ports.slice(0, 1) : [];
    const request = { device, epoch: mine.epoch, listener: LISTENER, range: RANGE, count, unusable: aside };
    const result = await this.#f.store.ports.reserve(request);
    if (pending?.epoch !== mine.epoch) return expect(result.verdict).toBe('stale');
    for (const port of aside) this.#cooling.add(port);
    pending.ports = pending.ports.filter((port) => !aside.includes(port));
    mine.ports = mine.ports.filter((port) => !aside.includes(port));
    const free = this.#free();
    if (free < count) return expect(result).toEqual({ verdict: 'exhausted', free });
    if (result.verdict !== 'ok') throw new Error(`reserve: ${result.verdict} with ${free} free`);
    pending.ports.push(...result.ports);
    mine.ports.push(...result.ports);
  }

  async #confirm({ actor, device, keep }: Step & { do: 'confirm' }): Promise<void> {
    const mine = this.#memory.get(actor + device)?.[0];
    const model = this.#of(device);
    if (mine === undefined) return;
    const kept = keep ? (model.lease?.endpoints ?? []) : [];
    const fresh = mine.ports.map((public_port, i): Endpoint => {
      const port = 1 + i + 100 * (model.lastEpoch % 300);
      if (i % 2 === 1) return { port, scheme: 'tcp', public_port };
      return { port, scheme: 'http', public_port, host: `${device}-${mine.epoch}-${i}.culvert.localhost` };
    });
    const endpoints = [...kept, ...fresh];
    if (endpoints.length === 0) return;
    const { epoch } = mine;
    const result = await this.#f.store.leases.confirm(device, { epoch, listener: LISTENER, endpoints, routeHost: '127.0.0.1' });
    if (model.pending?.epoch !== epoch) return expect(result.verdict).toBe('stale');
    const former = model.lease;
    const same = mine.boot !== '' && mine.boot === former?.boot;
    const held = same ? 'moved' : 'taken_over';
    const reason = former === undefined ? 'connected' : former.state === 'held' ? held : 'resumed';
    expect(result).toMatchObject({ verdict: 'ok', reason });
    if (!keep) for (const one of former?.endpoints ?? []) this.#cooling.add(one.public_port);
    model.lease = { state: 'held', epoch, control: mine.control, boot: mine.boot, endpoints };
    model.pending = undefined;
    mine.ports = [];
    mine.granted = true;
  }

  async #abandon({ actor, device }: Step & { do: 'abandon' }): Promise<void> {
    const mine = this.#memory.get(actor + device)?.[0];
    if (mine === undefined) return;
    const model = this.#of(device);
    const given = await this.#f.store.leases.abandon(device, mine.epoch);
    expect(given).toBe(model.pending?.epoch === mine.epoch);
    if (given) model.pending = undefined;
  }

  async #release({ actor, device, reason, age }: Step & { do: 'release' }): Promise<void> {
    const mine = this.#memory.get(actor + device)?.[age];
    if (mine === undefined) return;
    const { lease } = this.#of(device);
    const result = await this.#f.store.leases.release(device, mine.epoch, mine.control, reason);
    if (lease?.epoch !== mine.epoch || lease.control === '') return expect(result.verdict).toBe('stale');
    if (lease.state === 'held') lease.state = reason === 'bye' ? 'grace' : 'reconnecting';
    expect(result.verdict === 'stale' ? undefined : result.state).toBe(lease.state);
  }

  async #advance({ device, overdue }: Step & { do: 'advance' }): Promise<void> {
    const model = this.#of(device);
    const key = keys.lease(device);
    const [due, pending] = await this.#f.redis.hmget(key, 'due', 'pending');
    // Moves what the clock would bring into the past, for the server's own clock cannot be turned.
    if (due && overdue !== 'nothing') await this.#f.redis.hset(key, 'due', '1');
    if (pending && overdue === 'all')
      await this.#f.redis.hset(key, 'pending', JSON.stringify({ ...JSON.parse(pending), due: 1 }));
    const { step, abandoned } = await this.#f.store.leases.advance(device);
    // What the clock made overdue before stays so.
    if (due && due !== '1' && overdue === 'nothing') return expect({ step, abandoned }).toEqual({ step: 'none', abandoned: 0 });
    if (overdue === 'all') {
      expect(abandoned).toBe(model.pending?.epoch ?? 0);
      model.pending = undefined;
    } else expect(abandoned).toBe(0);
    if (!due) return expect(step).toBe('none');
    if (model.lease?.state === 'reconnecting') {
      expect(step).toBe('grace');
      model.lease.state = 'grace';
      model.lease.unseen = false;
    } else if (model.lease?.state === 'grace' && model.pending === undefined) {
      expect(step).toBe('expired');
      this.#end(model);
    } else expect(step).toBe('none');
  }

  async #giveUpWaiting({ device }: Step & { do: 'give up waiting' }): Promise<void> {
    const { pending } = this.#of(device);
    if (pending === undefined) return;
    const text = await this.#f.redis.hget(keys.lease(device), 'pending');
    await this.#f.redis.hset(keys.lease(device), 'pending', JSON.stringify({ ...JSON.parse(text ?? '{}'), since: 1 }));
    pending.patient = false;
  }

  async #revoke({ device }: Step & { do: 'revoke' }): Promise<void> {
    const model = this.#of(device);
    expect(await this.#f.store.leases.revoke(device)).not.toBeNull();
    this.#end(model);
    model.pending = undefined;
    model.tokens += 1;
    await this.#f.store.devices.add(device, this.#digest(device));
  }

  #end(model: ModelDevice): void {
    for (const one of model.lease?.endpoints ?? []) this.#cooling.add(one.public_port);
    model.lease = undefined;
  }

  /** Store and model agree in every lease, port and route. */
  async check(): Promise<void> {
    const { redis, store } = this.#f;
    const held: Record<string, string> = {};
    const hosts: string[] = [];
    for (const [device, { lease, pending }] of this.#devices) {
      const found = await store.leases.get(device);
      expect(found.pending?.epoch).toBe(pending?.epoch);
      if (lease === undefined) expect(found.lease).toBeNull();
      else {
        const { unseen: _, ...visible } = lease;
        expect(found.lease).toMatchObject({ ...visible, device });
      }
      for (const port of pending?.ports ?? []) held[port] = `${device} ${pending?.epoch}`;
      for (const { public_port, host } of lease?.endpoints ?? []) {
        expect(held).not.toHaveProperty(String(public_port)); // no port has two holders
        held[public_port] = `${device} ${lease?.epoch}`;
        if (host !== undefined) hosts.push(`route:${host} ${lease?.state} ${device}`);
      }
    }
    expect(await redis.hgetall(keys.heldPorts(LISTENER))).toEqual(held);
    await this.#checkStandIns(held);
    const free = await redis.zrange(keys.freePorts(LISTENER), '0', '-1');
    const all = [...free, ...Object.keys(held)].map(Number).sort((a, b) => a - b);
    expect(all).toEqual(Array.from({ length: RANGE[1] - RANGE[0] + 1 }, (_, i) => RANGE[0] + i)); // none leaks
    const routes = await redis.keys('route:*');
    const seen = await Promise.all(routes.map(async (key) => `${key} ${(await redis.hmget(key, 'state', 'device')).join(' ')}`));
    expect(seen.sort()).toEqual(hosts.sort());
    const waiting = [...this.#devices].filter(([, { lease, pending }]) => pending || (lease && lease.state !== 'held'));
    expect((await redis.zrange(keys.due, '0', '-1')).sort()).toEqual(waiting.map(([device]) => device).sort());
  }

  /** Whoever follows the events alone knows the state of every lease. */
  async checkEvents(): Promise<void> {
    const events = [...this.#past, ...(await this.#f.events())];
    for (const [device, { lease }] of this.#devices) {
      const replayed = replay(events.filter(({ subject }) => subject === device));
      const lost = lease?.state === 'reconnecting' ? 'lost' : lease?.state;
      // Nobody is told that it is lost before its ingress had the time to say that it is not.
      if (lease?.unseen === true && replayed?.state === 'held') replayed.state = 'lost';
      expect(replayed).toEqual(lease === undefined ? undefined : { state: lost, epoch: lease.epoch, endpoints: lease.endpoints });
    }
  }
}
