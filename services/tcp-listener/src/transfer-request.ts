import { randomBytes } from 'node:crypto';
import type { Bus } from '@culvert/bus';
import { CulvertError, type ErrorCode, type Limits, TRANSFER_PATH } from '@culvert/contracts';
import type { StopSignal, Transfer } from '@culvert/relay';
import type { Device, Tenure, TenureWatcher } from './device.ts';
import type { Rendezvous } from './rendezvous.ts';

export interface DialDeps {
  id: string;
  bus: Pick<Bus, 'requestOf'>;
  limits: Limits;
  rendezvous: Rendezvous;
  /** A dial that reached the device found neither a transfer nor a refusal until its deadline. */
  onUnanswered(device: Device, dialledAt: number): void;
}

export interface Wanted {
  device: Device;
  /** The device's own number of the endpoint. */
  port: number;
  /** Who visits, as the device is told. */
  visitor: string;
  /** The transfer must be there by then, in milliseconds of `performance.now()`. Default: DIAL_MS after the first dial. */
  until?: number | undefined;
  /** W3C trace context of the visitor's dial. */
  traceparent?: string | undefined;
}

const RETRY_MS = 250;
const RETRY_MAX_MS = 1_000;

/**
 * Gets a transfer of the device for one visitor.
 *
 *   held back --bind held--> dialled --attached--> done
 *       |                     |  ^---lost: held back until it is bound again
 *       \--RECONNECTING_MS----+--DIAL_MS, refused, grace, unbound, signal--> failed
 *
 * @throws CulvertError with the code that the visitor's life ends with, or the reason of the signal.
 */
export function requestTransfer(wanted: Wanted, signal: StopSignal, deps: DialDeps): Promise<Transfer> {
  return new TransferRequest(wanted, signal, deps).result;
}

class TransferRequest implements TenureWatcher {
  readonly result: Promise<Transfer>;
  readonly #wanted: Wanted;
  readonly #signal: StopSignal;
  readonly #deps: DialDeps;
  readonly #settle: { resolve: (transfer: Transfer) => void; reject: (error: unknown) => void };
  /** Ids that the device may still use. Several after a loss: whichever transfer comes first serves the visitor. */
  readonly #ids = new Set<string>();
  #done = false;
  #held = true;
  #boundEpoch = -1;
  /** Whether any dial reached the device. */
  #dialled = false;
  /** Whether the newest one did. */
  #reached = false;
  #attempt = 0;
  #holdTimer: NodeJS.Timeout | undefined;
  #dialTimer: NodeJS.Timeout | undefined;

  constructor(wanted: Wanted, signal: StopSignal, deps: DialDeps) {
    this.#wanted = wanted;
    this.#signal = signal;
    this.#deps = deps;
    const { promise, resolve, reject } = Promise.withResolvers<Transfer>();
    this.result = promise;
    this.#settle = { resolve, reject };
    wanted.device.watchers.add(this);
    signal.addEventListener('abort', this.#onAbort);
    if (signal.aborted) this.#onAbort();
    else this.#begin();
  }

  #begin(): void {
    const { tenure } = this.#wanted.device;
    if (tenure === undefined || tenure.state === 'grace') this.#fail('device_offline');
    else this.tenureChanged(tenure);
  }

  tenureChanged(tenure: Tenure): void {
    if (this.#done) return;
    if (tenure.mode === 'replace' && this.#boundEpoch >= 0 && tenure.epoch !== this.#boundEpoch) {
      // Another boot knows nothing of what was dialled before.
      this.#forgetIds();
      this.#held = true;
    }
    const isNewer = tenure.epoch !== this.#boundEpoch;
    this.#boundEpoch = tenure.epoch;
    if (tenure.state === 'reconnecting') this.#holdBack();
    // A dial on its way to the former ingress may find the device gone from there, and no other bind would follow.
    else if (this.#held || (isNewer && !this.#reached)) void this.#dial(tenure);
    // else: the same agent on a newer control connection; what was dialled goes on.
  }

  #holdBack(): void {
    this.#held = true;
    this.#attempt += 1;
    this.#holdTimer ??= setTimeout(() => this.#fail('device_offline'), this.#deps.limits.RECONNECTING_MS);
  }

  async #dial({ device, epoch, ingress }: Tenure): Promise<void> {
    const { bus, id: listener, limits, rendezvous } = this.#deps;
    const { port, visitor, traceparent } = this.#wanted;
    this.#held = false;
    this.#reached = false;
    clearTimeout(this.#holdTimer);
    this.#holdTimer = undefined;
    const until = this.#wanted.until ?? performance.now() + limits.DIAL_MS;
    const leftMs = Math.max(0, until - performance.now());
    const dialledAt = performance.now();
    this.#dialTimer ??= setTimeout(() => {
      if (this.#reached) this.#deps.onUnanswered(this.#wanted.device, dialledAt);
      this.#fail(this.#dialled ? 'dial_timeout' : 'device_offline');
    }, leftMs);
    this.#attempt += 1;
    const attempt = this.#attempt;
    const id = randomBytes(16).toString('base64url');
    this.#ids.add(id);
    rendezvous.expect(id, {
      device: this.#wanted.device,
      attach: (transfer) => this.#attach(transfer),
      refused: (code) => this.#fail(code),
    });
    const dial = { device, epoch, id, port, path: `${TRANSFER_PATH}/${listener}/${id}`, visitor, listener };
    for (let waitMs = RETRY_MS; ; waitMs = Math.min(RETRY_MAX_MS, waitMs * 2)) {
      const timeoutMs = Math.max(1, Math.min(limits.COMMAND_MS, until - performance.now()));
      const code = await bus.requestOf(ingress, 'ingress.dial', dial, { timeoutMs, traceparent }).then(
        (reply) => (reply.ok ? 'ok' : reply.code),
        (error: unknown) => (error instanceof CulvertError ? error.code : 'internal'),
      );
      if (code === 'ok') {
        this.#dialled = true;
        if (attempt === this.#attempt) this.#reached = true;
      }
      if (this.#done || attempt !== this.#attempt || code === 'ok') return;
      if (code === 'internal' || code === 'bad_request') return this.#fail('internal');
      // The ingress does not have the device any more: a newer bind will say where it is, if anywhere.
      if (code === 'lease_lost' || code === 'not_found') return this.#holdBack();
      await new Promise((resume) => setTimeout(resume, waitMs));
      if (this.#done || attempt !== this.#attempt) return;
    }
  }

  #attach(transfer: Transfer): void {
    if (this.#finish()) this.#settle.resolve(transfer);
    else transfer.cut('device_offline');
  }

  #fail(code: ErrorCode): void {
    if (this.#finish()) this.#settle.reject(new CulvertError(code));
  }

  readonly #onAbort = (): void => {
    if (this.#finish()) this.#settle.reject(this.#signal.reason);
  };

  #finish(): boolean {
    if (this.#done) return false;
    this.#done = true;
    clearTimeout(this.#holdTimer);
    clearTimeout(this.#dialTimer);
    this.#wanted.device.watchers.delete(this);
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#forgetIds();
    return true;
  }

  #forgetIds(): void {
    for (const id of this.#ids) this.#deps.rendezvous.forget(id);
    this.#ids.clear();
  }
}
