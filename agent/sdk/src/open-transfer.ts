import { CulvertError } from '@culvert/contracts';
import { connectWebSocket, type StopSignal, type UpgradedSocket } from '@culvert/relay';
import { DoublingRest } from '@culvert/wire';
import { targetOf } from './address.ts';
import type { Control, DirectAddress } from './control.ts';
import type { Settings } from './options.ts';
import { isAnswer, type TransferHealth } from './transfer-health.ts';

export interface OpenedTransfer extends UpgradedSocket {
  encrypted: boolean;
  /** It goes by the server's edge, not straight to the listener. */
  byEdge: boolean;
}

/** A listener that can be reached is reached soon. */
const CONNECT_MS = 3_000;
/** Once it has the request it may have joined the visitor, who is lost with it; DIAL_MS must leave room for the other way. */
const ANSWER_MS = 8_000;

/** Opens transfer connections: straight at the listener where the server said that it may be done, else at the server. */
export class TransferOpener {
  readonly #settings: Settings;
  readonly #health: TransferHealth;
  /** The direct address that did not work while the server did. A firewall may stay, and another key is tried at once. */
  #avoided: { key: string; rest: DoublingRest } | undefined;

  constructor(settings: Settings, health: TransferHealth) {
    this.#settings = settings;
    this.#health = health;
  }

  /** For a dial: when that fails again and again, the control connection is given up. Throws as `connectWebSocket`. */
  async openDialled(control: Control, path: string, signal: StopSignal): Promise<OpenedTransfer> {
    const dialledAt = performance.now();
    try {
      return await this.open(control, path, signal);
    } catch (err) {
      if (!signal.aborted) this.#health.failed(err, dialledAt, control);
      throw err;
    }
  }

  /** Throws as `connectWebSocket`. */
  async open(control: Control, path: string, signal: StopSignal): Promise<OpenedTransfer> {
    const opened = await this.#open(control, path, signal);
    this.#health.worked();
    return opened;
  }

  async #open(control: Control, path: string, signal: StopSignal): Promise<OpenedTransfer> {
    const direct = control.direct;
    const atServer = async (): Promise<OpenedTransfer> => {
      const target = targetOf(this.#settings, control.server, path, control.token, signal);
      return { ...(await connectWebSocket(target)), byEdge: true };
    };
    if (direct === undefined || this.#avoids(direct)) return atServer();
    try {
      const opened = await this.#openDirect(direct, path, signal);
      if (this.#avoided?.key === direct.key) this.#avoided = undefined;
      return opened;
    } catch (err) {
      if (signal.aborted || (err instanceof CulvertError && err.code === 'rate_limited')) throw err; // the listener's own word
      try {
        const opened = await atServer();
        this.#avoid(direct, err);
        return opened;
      } catch (other) {
        // One that says nothing may have cost so long that the server does not know the dial any more.
        if (isAnswer(other) && !isAnswer(err)) this.#avoid(direct, err);
        throw other; // where the server does not answer either, the address is not what is wrong
      }
    }
  }

  #avoid({ key, url }: DirectAddress, err: unknown): void {
    if (this.#avoided?.key !== key) {
      this.#avoided = { key, rest: new DoublingRest(this.#settings.limits.MEND_REST_MS) };
    }
    if (!this.#avoided.rest.begin(performance.now())) return; // another transfer has found the same
    const why = err instanceof Error ? err.message : String(err);
    this.#settings.log({ event: 'direct.failed', url: url.origin, why });
  }

  #avoids({ key }: DirectAddress): boolean {
    return this.#avoided?.key === key && !this.#avoided.rest.over(performance.now());
  }

  async #openDirect({ url, key }: DirectAddress, path: string, signal: StopSignal): Promise<OpenedTransfer> {
    const target = targetOf(this.#settings, url, `${url.pathname.replace(/\/$/, '')}${path}`, key, signal);
    const { HANDSHAKE_MS } = this.#settings.limits;
    const connectMs = Math.min(CONNECT_MS, HANDSHAKE_MS);
    const opened = await connectWebSocket({ ...target, connectMs, deadlineMs: Math.min(ANSWER_MS, HANDSHAKE_MS) });
    return { ...opened, byEdge: false };
  }
}
