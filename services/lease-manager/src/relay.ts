import { randomBytes } from 'node:crypto';
import type { LeaseStore } from '@culvert/lease-store';
import type { Logger } from '@culvert/service-kit';
import { jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import type { Redis } from 'ioredis';
import type { ManagerDeps } from './deps.ts';
import { DeviceBucket } from './device-bucket.ts';
import { OutboxFlow } from './outbox-flow.ts';
import { ensureStreams } from './streams.ts';

const LOCK_TTL_MS = 5_000;
const STANDBY_MS = 1_000;

/**
 * Relays the outbox to the stream, in order, at least once. One instance does, by a lock in Redis; the others stand by.
 * What makes it safe is the stream itself: every message names the sequence that it expects before it, and where in the
 * outbox it came from. So one who was paused while another took over fails at its first message, reads the stream's last
 * one and goes on after that.
 */
export class Relay {
  readonly #deps: ManagerDeps;
  readonly #store: LeaseStore;
  readonly #log: Logger;
  readonly #nc: NatsConnection;
  /** Of its own: it is blocked while it waits for entries. */
  readonly #reader: Redis;
  readonly #owner = randomBytes(8).toString('hex');
  readonly #bucket: DeviceBucket;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();
  #wake: () => void = () => {};

  constructor(deps: ManagerDeps, reader: Redis) {
    this.#deps = deps;
    this.#store = deps.store;
    this.#log = deps.log;
    this.#nc = deps.bus.nc;
    this.#reader = reader;
    this.#bucket = new DeviceBucket(deps);
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    this.#reader.disconnect();
    await this.#running;
    await this.#store.outbox.unlock(this.#owner);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      try {
        const fence = await this.#store.outbox.lock(this.#owner, LOCK_TTL_MS);
        if (fence !== 0) await this.#lead(fence);
      } catch (err) {
        if (!this.#stopped) this.#log.warn({ event: 'relay.interrupted', err });
      }
      this.#deps.metrics.relayActive.set(0);
      await this.#bucket.stop();
      await this.#pause(STANDBY_MS);
    }
  }

  /** Relays until the lock is lost. @throws whatever NATS or Redis fails with. */
  async #lead(fence: number): Promise<void> {
    if (!this.#deps.bus.connected) return;
    await ensureStreams(await jetstreamManager(this.#nc), this.#deps.limits);
    const life = await this.#store.incarnation();
    const flow = await OutboxFlow.begin(this.#deps, this.#reader, fence);
    let renewedAt = performance.now();
    this.#deps.metrics.relayActive.set(1);
    this.#log.info({ event: 'relay.active', fence, ...flow.place });
    this.#bucket.start();
    try {
      while (!this.#stopped) {
        if (performance.now() - renewedAt > LOCK_TTL_MS / 3) {
          if ((await this.#store.outbox.lock(this.#owner, LOCK_TTL_MS)) !== fence) return;
          if ((await this.#store.incarnation()) !== life) return; // positions begin anew
          renewedAt = performance.now();
        }
        await flow.step();
      }
    } finally {
      await flow.settled();
    }
  }

  async #pause(ms: number): Promise<void> {
    if (this.#stopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
