import type { Bus } from '@culvert/bus';
import type { Logger } from '@culvert/service-kit';
import type { Connections } from './connections.ts';
import type { ControlConnection } from './control-connection.ts';

const AT_ONCE = 32;
const RETRY_MS = 1_000;

/**
 * Compares every control connection with the store, after a time in which commands to this instance may have been lost:
 * NATS was away, or this process stood still so long that it was taken for gone. What is no longer held is closed, and
 * its device connects anew.
 */
export class Audit {
  readonly #bus: Pick<Bus, 'request' | 'connected'>;
  readonly #connections: Connections;
  readonly #log: Logger;
  #again = false;
  #running = false;
  #stopped = false;

  constructor(bus: Pick<Bus, 'request' | 'connected'>, connections: Connections, log: Logger) {
    this.#bus = bus;
    this.#connections = connections;
    this.#log = log;
  }

  /** Returns at once; a run under way is followed by another one. */
  request(): void {
    this.#again = true;
    if (!this.#running) void this.#run();
  }

  stop(): void {
    this.#stopped = true;
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#again && !this.#stopped) {
      this.#again = false;
      const queue = this.#connections.all();
      const before = queue.length;
      let closed = 0;
      const work = async (): Promise<void> => {
        for (let next = queue.pop(); next !== undefined && !this.#stopped; next = queue.pop()) {
          if (!(await this.#isHeld(next))) {
            next.close('lease_lost', 'the lease is no longer held by this connection');
            closed += 1;
          }
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      this.#log.info({ event: 'audit.done', connections: before, closed });
    }
    this.#running = false;
  }

  /** Asks until somebody answers. */
  async #isHeld({ device, epoch, tenure }: ControlConnection): Promise<boolean> {
    while (!this.#stopped) {
      const reply = await this.#bus.request('lease.get', { device }).catch(() => undefined);
      if (reply?.ok === true) {
        const { lease } = reply;
        return lease !== null && lease.epoch === epoch && lease.control === tenure.control && lease.state === 'held';
      }
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
    return true;
  }
}
