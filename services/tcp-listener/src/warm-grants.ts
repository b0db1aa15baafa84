import { CulvertError, type Limits } from '@culvert/contracts';
import type { WarmHost } from '@culvert/relay';
import type { Device } from './device.ts';
import type { Tenures } from './tenures.ts';
import type { WarmBudget } from './warm-pool.ts';

/** A device that is not entitled asks again after this; its next visitor makes it try by itself. */
const NOT_NOW_RETRY_MS = 60_000;
/** A device that is reconnecting is back by then, or in grace. */
const RECONNECTING_RETRY_MS = 5_000;
/** The listener's budget is used up, or the device has all that it may have. */
const SHORTLY_RETRY_MS = 15_000;
/** How often warm transfers are given back that nobody needs; a shorter WARM_RECENT_MS makes it faster. */
const TRIM_MS = 1_000;

/** Which device may keep how many warm transfers waiting, and when they are given back. */
export class WarmGrants {
  readonly #tenures: Tenures;
  readonly #budget: WarmBudget;
  readonly #limits: Limits;
  readonly #timer: NodeJS.Timeout;
  #windingDown = false;

  constructor(tenures: Tenures, budget: WarmBudget, limits: Limits) {
    this.#tenures = tenures;
    this.#budget = budget;
    this.#limits = limits;
    this.#timer = setInterval(() => this.#trim(), Math.min(TRIM_MS, Math.ceil(limits.WARM_RECENT_MS / 4)));
    this.#timer.unref();
  }

  /** @throws CulvertError `rate_limited` when the device has what is due to it, `unavailable` when the listener has no room. */
  admit(device: Device): void {
    const limit = this.#limitOf(device);
    if (this.#windingDown) throw new CulvertError('wind_down', undefined, { retryAfterMs: SHORTLY_RETRY_MS });
    if (device.tenure?.state !== 'held') {
      throw new CulvertError('unavailable', 'the device has no control connection', { retryAfterMs: RECONNECTING_RETRY_MS });
    }
    if (limit === 0) throw later('this device asked for no warm transfers, or none are granted here');
    if (!this.#isRecent(device)) throw later(`the device had no visitor for ${this.#limits.WARM_RECENT_MS} ms`);
    if (device.warm.waiting >= limit) {
      throw new CulvertError('rate_limited', `${limit} warm transfers wait already`, { retryAfterMs: SHORTLY_RETRY_MS });
    }
    if (this.#budget.waiting >= this.#limits.WARM_PER_LISTENER) {
      throw new CulvertError('unavailable', 'the warm transfers of this listener are given away', {
        retryAfterMs: SHORTLY_RETRY_MS,
      });
    }
  }

  /** A device's transfer can take the next visitor. */
  returned({ tenure, warm }: Device, host: WarmHost): void {
    if (this.#windingDown) host.transfer.cut('wind_down');
    else if (tenure === undefined || tenure.state === 'grace') host.transfer.cut('device_offline');
    else warm.idle(host);
  }

  /** Gives none from here on, and closes those that wait. */
  windDown(): void {
    this.#windingDown = true;
    clearInterval(this.#timer);
    for (const device of this.#tenures.devices()) device.warm.close('wind_down');
  }

  #trim(): void {
    for (const device of this.#tenures.devices()) {
      if (device.warm.waiting === 0) continue;
      device.warm.trim(this.#isRecent(device) ? this.#limitOf(device) : 0);
      const excess = this.#budget.waiting - this.#limits.WARM_PER_LISTENER;
      if (excess > 0) device.warm.trim(Math.max(0, device.warm.waiting - excess));
    }
  }

  #limitOf({ tenure }: Device): number {
    return Math.min(tenure?.warm ?? 0, this.#limits.WARM_PER_DEVICE);
  }

  #isRecent({ visitedAt, visitors }: Device): boolean {
    return visitors.size > 0 || performance.now() - visitedAt <= this.#limits.WARM_RECENT_MS;
  }
}

function later(message: string): CulvertError {
  return new CulvertError('rate_limited', message, { retryAfterMs: NOT_NOW_RETRY_MS });
}
