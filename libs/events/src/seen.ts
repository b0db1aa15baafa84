import type { AnyEvent } from '@culvert/bus';
import { isAboutDevice, isNewer } from '@culvert/bus/device-state';

/** What is remembered of so many devices, and of so many events that (epoch, seq) does not order. The oldest go first. */
const MOST = 100_000;

/** Knows an event that was there already: by (epoch, seq) of its device, of other events by their id. */
export class Seen {
  readonly #devices = new Map<string, { epoch: number; seq: number }>();
  readonly #ids = new Set<string>();

  /** True for an event that is not newer than what was noted. */
  has(event: AnyEvent): boolean {
    return isAboutDevice(event) ? !isNewer(event.data, this.#devices.get(event.subject)) : this.#ids.has(event.id);
  }

  note(event: AnyEvent): void {
    if (isAboutDevice(event)) {
      this.#devices.delete(event.subject);
      this.#devices.set(event.subject, { epoch: event.data.epoch, seq: event.data.seq });
    } else this.#ids.add(event.id);
    for (const kept of [this.#devices, this.#ids]) {
      const oldest = kept.size > MOST ? kept.keys().next().value : undefined;
      if (oldest !== undefined) kept.delete(oldest);
    }
  }
}
