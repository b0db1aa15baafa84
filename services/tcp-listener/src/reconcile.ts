import type { Bus, CommandReply } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import type { Logger, Reassertion } from '@culvert/service-kit';
import type { Tenures } from './tenures.ts';

type Compared = Pick<Tenures, 'now' | 'commands' | 'boundBefore' | 'bindUnlessChanged' | 'unbind'>;
type Listed = Extract<CommandReply<'lease.list'>, { ok: true }>['leases'][number];

const PAGE = 500;
const AT_ONCE = 64;
const RETRY_MS = 500;
const RETRY_MAX_MS = 5_000;

/** Heals what no lost command explains, such as two lease-managers whose news overtook each other. */
const EVERY_MS = 60_000;
/** Many leases are compared more rarely: at least so long after the last time for each of them. */
const EACH_MS = 60;
/** While no command has come since everything was right, there is hardly anything to heal, and idle devices are to cost Redis nothing. */
const QUIET_MS = 1_800_000;

/**
 * Makes the ports of this listener those that the store says it has: at start, after any time in which commands may have
 * been lost, and every minute while commands come. Only what differs changes.
 */
export class Reconciler {
  readonly #id: string;
  readonly #bus: Pick<Bus, 'request'>;
  readonly #tenures: Compared;
  readonly #reassertion: Pick<Reassertion, 'heardBy' | 'run'>;
  readonly #log: Logger;
  #wanted = false;
  #running: Promise<void> | undefined;
  #stopped = false;
  /** Whether it has ever been done. */
  done = false;
  readonly #timer: NodeJS.Timeout;
  /** The last comparison: when it ended, how many leases it saw, and up to which command everything was right. */
  #last = { at: 0, leases: 0, commands: -1 };

  constructor(
    id: string,
    bus: Pick<Bus, 'request'>,
    tenures: Compared,
    reassertion: Pick<Reassertion, 'heardBy' | 'run'>,
    log: Logger,
  ) {
    this.#id = id;
    this.#bus = bus;
    this.#tenures = tenures;
    this.#reassertion = reassertion;
    this.#log = log;
    this.#timer = setInterval(() => this.#isDue() && void this.run(), EVERY_MS);
  }

  /** Tries until it has worked. Asked for during a run, it runs once more. */
  run(): Promise<void> {
    this.#wanted = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** The store may have lost what is bound here: it hears of that first. */
  async runAfresh(): Promise<void> {
    await this.#reassertion.run();
    await this.run();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  #isDue(): boolean {
    const age = performance.now() - this.#last.at;
    return age >= (this.#last.commands === this.#tenures.commands ? QUIET_MS : this.#last.leases * EACH_MS);
  }

  async #run(): Promise<void> {
    let waitMs = RETRY_MS;
    while (this.#wanted && !this.#stopped) {
      this.#wanted = false;
      try {
        await this.#once();
        if (!this.#wanted) this.done = true;
        waitMs = RETRY_MS;
      } catch (err) {
        this.#log.warn({ event: 'reconcile.failed', err: (err as Error).message });
        this.#wanted = true;
        await new Promise((resume) => setTimeout(resume, waitMs));
        waitMs = Math.min(RETRY_MAX_MS, waitMs * 2);
      }
    }
  }

  async #once(): Promise<void> {
    const startedAt = performance.now();
    const mark = this.#tenures.now();
    const { commands } = this.#tenures;
    const listed = new Set<string>();
    const failed: string[] = [];
    let cursor: string | null = null;
    do {
      const reply: CommandReply<'lease.list'> = await this.#bus.request('lease.list', {
        listener: this.#id,
        limit: PAGE,
        ...(cursor === null ? {} : { cursor }),
      });
      if (!reply.ok) throw new CulvertError('unavailable', `lease.list: ${reply.message}`);
      if (reply.store !== this.#reassertion.heardBy) {
        // Whatever such a store lacks may just be what it has lost.
        await this.#reassertion.run();
        this.#wanted = true;
        return;
      }
      for (const { lease } of reply.leases) listed.add(lease.device);
      failed.push(...(await this.#bindAll(reply.leases, mark)));
      cursor = reply.cursor;
    } while (cursor !== null && !this.#stopped);
    let unbound = 0;
    for (const device of this.#tenures.boundBefore(mark)) {
      if (listed.has(device.name) || this.#stopped) continue;
      await this.#tenures.unbind(device.name, device.tenure?.epoch ?? 0).catch(() => {}); // a newer bind has come
      unbound += 1;
    }
    const healed = unbound > 0 || failed.length > 0;
    this.#last = { at: performance.now(), leases: listed.size, commands: healed ? -1 : commands };
    const ms = Math.round(performance.now() - startedAt);
    const fields = { event: 'reconcile.done', leases: listed.size, unbound, failed, ms };
    if (!this.done || healed) this.#log.info(fields);
    else this.#log.debug(fields);
  }

  /** Answers the devices whose ports are not to be had. Their ports stay theirs; the log says so, and the rest goes on. */
  async #bindAll(leases: Listed[], mark: number): Promise<string[]> {
    const queue = [...leases];
    const failed: string[] = [];
    const work = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined && !this.#stopped; next = queue.pop()) {
        if (!(await this.#bind(next, mark))) failed.push(next.lease.device);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return failed;
  }

  async #bind({ lease, token_digests, policy }: Listed, mark: number): Promise<boolean> {
    const { device, epoch, rev, state, since, ingress, endpoints, warm, transfers, max_frame } = lease;
    try {
      const tenure = {
        ...{ device, epoch, rev, state, since, ingress, warm, transfers, max_frame },
        ports: endpoints,
        ...(policy === undefined ? {} : { policy }),
        token_digests,
        mode: 'carry' as const,
      };
      return (await this.#tenures.bindUnlessChanged(tenure, mark)).ok;
    } catch (error) {
      if (error instanceof CulvertError && error.code === 'lease_lost') return true; // a newer bind has overtaken the list
      throw error;
    }
  }
}
