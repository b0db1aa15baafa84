import type { Bus } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import type { OperatorVisits } from './operator-visits.ts';

/**
 * Ends operators' connections with their rights. These are looked up every RECHECK_MS, and at once when an operator or a login
 * was changed. A registry that cannot be asked ends nothing.
 */
export class OperatorRights {
  readonly #visits: OperatorVisits;
  readonly #bus: Pick<Bus, 'request' | 'nc'>;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  readonly #stopListening: (() => void)[];

  constructor(visits: OperatorVisits, bus: Pick<Bus, 'request' | 'nc'>, recheckMs: number, log: Logger) {
    this.#visits = visits;
    this.#bus = bus;
    this.#log = log;
    this.#timer = setInterval(() => this.#recheck(), recheckMs);
    this.#stopListening = ['audit.operator.*', 'audit.login.*'].map((subject) => {
      const subscription = bus.nc.subscribe(subject, { callback: () => this.#recheck() });
      return () => subscription.unsubscribe();
    });
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const stop of this.#stopListening) stop();
  }

  #recheck(): void {
    for (const operator of this.#visits.operators()) {
      this.#bus.request('operator.check', operator).then(
        (reply) => {
          if (reply.ok || (reply.code !== 'unauthorized' && reply.code !== 'forbidden')) return;
          const cut = this.#visits.dismiss(operator);
          this.#log.info({ event: 'operator.dismissed', operator: operator.name, cut });
        },
        (error: unknown) => {
          const code = error instanceof CulvertError ? error.code : 'internal';
          this.#log.debug({ event: 'operator.not_checked', operator: operator.name, code });
        },
      );
    }
  }
}
