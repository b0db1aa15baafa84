import { randomBytes } from 'node:crypto';
import type { Bus } from '@culvert/bus';
import { type Limits, TRANSFER_PATH } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import { DoublingRest } from '@culvert/wire';
import type { Device, Tenure } from './device.ts';
import type { ListenerMetrics } from './metrics.ts';
import type { Rendezvous } from './rendezvous.ts';

export interface CanaryDeps {
  id: string;
  bus: Pick<Bus, 'requestOf'>;
  limits: Limits;
  rendezvous: Rendezvous;
  metrics: Pick<ListenerMetrics, 'canaries'>;
  log: Logger;
}

/** What came of a canary: a transfer, a `refused` (of a device that knows no canaries), nothing in time, or it could not be sent. */
export type CanaryAnswer = 'alive' | 'refused' | 'none' | 'away';
const CANARY = 'canary';

/**
 * Finds control connections that live while transfers are dead, and has them ended, so that the device connects anew, at
 * another server if it knows one.
 *
 *   unsuspected --a dial unanswered, no transfer since--> canary sent --a transfer, a refusal--> unsuspected
 *                                                            \--none within DIAL_MS--> probed --silent--> unsuspected (the heartbeat's affair)
 *                                                                                         \--alive--> control connection ended, or damped
 *
 * A canary is a dial without a visitor and without a local target: slow targets are not taken for dead transfers. It costs
 * one handshake, and is sent only after a visitor has waited in vain.
 */
export class Canaries {
  readonly #deps: CanaryDeps;
  readonly #running = new WeakSet<Device>();
  readonly #rests = new WeakMap<Device, DoublingRest>();

  constructor(deps: CanaryDeps) {
    this.#deps = deps;
  }

  /** A dial of that time, in milliseconds of `performance.now()`, was not answered. Never rejects; at most one canary a device. */
  suspect(device: Device, dialledAt: number): void {
    const { tenure } = device;
    if (tenure?.state !== 'held' || device.arrivedAt >= dialledAt || this.#running.has(device)) return;
    this.#running.add(device);
    this.#run(device, tenure)
      .catch((err: Error) => this.#deps.log.warn({ event: 'canary.failed', device: device.name, err: err.message }))
      .finally(() => this.#running.delete(device));
  }

  async #run(device: Device, tenure: Tenure): Promise<void> {
    const { metrics, log } = this.#deps;
    const { epoch } = tenure;
    const sentAt = performance.now();
    const answer = await this.send(device, tenure);
    if (answer === 'alive') this.#rests.delete(device);
    const ofOld = device.tenure?.epoch !== epoch || device.arrivedAt >= sentAt;
    if (answer !== 'none' || ofOld) return void metrics.canaries.inc({ outcome: answer === 'none' ? 'away' : answer });
    const outcome = await this.#mend(device, tenure);
    metrics.canaries.inc({ outcome });
    log.warn({ event: 'canary.unanswered', device: device.name, epoch, outcome });
  }

  /** One canary, whatever is suspected; answers within `ms`, default DIAL_MS. */
  async send(
    device: Device,
    { device: name, epoch, ingress, ports }: Tenure,
    ms = this.#deps.limits.DIAL_MS,
  ): Promise<CanaryAnswer> {
    const { id: listener, bus, rendezvous } = this.#deps;
    const id = randomBytes(16).toString('base64url');
    const declared = new Set(ports.map(({ port }) => port));
    // Who knows no canaries refuses a port that it has not declared, and so connects nowhere.
    let port = 1;
    while (declared.has(port)) port += 1;
    const { promise, resolve } = Promise.withResolvers<CanaryAnswer>();
    const late = setTimeout(() => resolve('none'), ms);
    rendezvous.expect(id, {
      device,
      attach: (transfer) => {
        transfer.cut('bye');
        resolve('alive');
      },
      refused: () => resolve('refused'),
    });
    const path = `${TRANSFER_PATH}/${listener}/${id}`;
    bus.requestOf(ingress, 'ingress.dial', { device: name, epoch, id, port, path, visitor: CANARY, listener, canary: true }).then(
      (reply) => reply.ok || resolve('away'),
      () => resolve('away'),
    );
    try {
      return await promise;
    } finally {
      clearTimeout(late);
      rendezvous.forget(id);
    }
  }

  /** Ends the control connection, if it lives and was not ended for this lately. */
  async #mend(device: Device, { device: name, epoch, ingress }: Tenure): Promise<'dead' | 'damped' | 'silent' | 'away'> {
    const { bus, limits } = this.#deps;
    const timeoutMs = limits.PROBE_MS + limits.COMMAND_MS;
    const probe = await bus.requestOf(ingress, 'ingress.probe', { device: name, epoch }, { timeoutMs });
    if (!probe.ok) return 'away';
    if (!probe.alive) return 'silent';
    const rest = this.#rests.get(device) ?? new DoublingRest(limits.MEND_REST_MS);
    this.#rests.set(device, rest);
    if (!rest.begin(performance.now())) return 'damped';
    const message = 'dials reach this device, but no transfer of it arrives';
    const closed = await bus.requestOf(ingress, 'ingress.close', { device: name, epoch, code: 'transfers_dead', message });
    return closed.ok && closed.closed ? 'dead' : 'away';
  }
}
