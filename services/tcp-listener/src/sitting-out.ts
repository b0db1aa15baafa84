import type { Socket } from 'node:net';
import type { Limits } from '@culvert/contracts';

/**
 * Visitors who come while this instance is fenced: nobody knows yet whether their port is still its device's. They wait as
 * long as for a reconnecting device, then they are served, or reset.
 */
export class SittingOut {
  readonly #limits: Limits;
  readonly #serve: (socket: Socket, publicPort: number) => void;
  #waiting = 0;

  constructor(limits: Limits, serve: (socket: Socket, publicPort: number) => void) {
    this.#limits = limits;
    this.#serve = serve;
  }

  /** At most VISITORS_WAITING_PER_DEVICE of all devices together; more are reset at once. */
  hold(socket: Socket, publicPort: number, fence: Promise<void>): void {
    socket.on('error', ignore);
    if (this.#waiting >= this.#limits.VISITORS_WAITING_PER_DEVICE) return void socket.resetAndDestroy();
    this.#waiting += 1;
    let settled = false;
    const settle = (act: () => void): void => {
      if (settled) return;
      settled = true;
      clearTimeout(late);
      socket.off('close', gone);
      this.#waiting -= 1;
      act();
    };
    const gone = (): void => settle(() => {});
    const late = setTimeout(() => settle(() => socket.resetAndDestroy()), this.#limits.RECONNECTING_MS);
    socket.once('close', gone);
    const stands = (): void =>
      settle(() => {
        socket.off('error', ignore);
        this.#serve(socket, publicPort);
      });
    fence.then(stands, stands);
  }
}

function ignore(): void {}
