import type { Bus } from '@culvert/bus';
import type { Role } from '@culvert/contracts';
import { CulvertError } from '@culvert/contracts';
import type { Operator, Rights } from './rights.ts';

interface Running {
  operator: Operator;
  role: Role;
  end(): void;
}

/**
 * What goes on after its request was let in (live feeds and the like): ended once its operator's rights are. Looked up again
 * every RECHECK_MS, and at once when an operator or a login was changed. A registry that cannot be asked ends nothing.
 */
export class RunningUses {
  readonly #rights: Rights;
  readonly #all = new Set<Running>();
  readonly #stopListening: (() => void)[];
  readonly #timer: NodeJS.Timeout;

  constructor(rights: Rights, bus: Pick<Bus, 'nc'>, recheckMs: number) {
    this.#rights = rights;
    this.#stopListening = ['audit.operator.*', 'audit.login.*'].map((subject) => {
      const subscription = bus.nc.subscribe(subject, { callback: () => this.#recheck() });
      return () => subscription.unsubscribe();
    });
    this.#timer = setInterval(() => this.#recheck(), recheckMs);
  }

  /** `end` is called once, when the rights are gone. Call what is returned when the use is over. */
  add(operator: Operator, role: Role, end: () => void): () => void {
    const running: Running = { operator, role, end };
    this.#all.add(running);
    return () => this.#all.delete(running);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const stop of this.#stopListening) stop();
    for (const { end } of this.#all) end();
    this.#all.clear();
  }

  #recheck(): void {
    for (const running of this.#all) {
      this.#rights.again(running.operator, running.role).catch((error: unknown) => {
        const gone = error instanceof CulvertError && (error.code === 'unauthorized' || error.code === 'forbidden');
        if (gone && this.#all.delete(running)) running.end();
      });
    }
  }
}
