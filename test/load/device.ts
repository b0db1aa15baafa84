import { CulvertError } from '@culvert/contracts';
import { ControlSocket, connectLocal, connectWebSocket, dialTransfer } from '@culvert/relay';
import { type DialMessage, decodeMessage, type Ending, encodeMessage, initialBackoff, nextAttempt } from '@culvert/wire';
import { connectFrom, sourceOf } from './from.ts';
import type { Place } from './words.ts';

const HANDSHAKE_MS = 30_000;

export interface Fleet {
  /** Port of the server of control connections. */
  controlPort: number;
  edgePort: number;
  targets: { web: number; echo: number };
  /** Waits for a place among the handshakes at once; the result gives it back. */
  enter(): Promise<() => void>;
  /** `ms` from its first attempt; undefined when it was ready before and has moved. */
  onReady(device: Device, place: Place, ms: number | undefined): void;
  onLost(): void;
  onRefused(why: string): void;
  onDial(): void;
}

/**
 * One device of a load: a real control connection, transfers that end at a real local target, and the agent's own pace of
 * reconnection. It costs its process little, so that thousands fit into one.
 */
export class Device {
  readonly index: number;
  readonly #name: string;
  readonly #token: string;
  readonly #ports: '80' | 'tcp:9';
  readonly #fleet: Fleet;
  readonly #boot: string;
  #control: ControlSocket | undefined;
  #state = initialBackoff();
  #place: Place = {};
  #startedAt = 0;
  #readyAt = 0;

  constructor(index: number, named: { name: string; token: string; ports: '80' | 'tcp:9' }, fleet: Fleet) {
    this.index = index;
    this.#name = named.name;
    this.#token = named.token;
    this.#ports = named.ports;
    this.#fleet = fleet;
    this.#boot = `${named.name}-0123456789abcdef`;
  }

  async connect(): Promise<void> {
    const { controlPort: port } = this.#fleet;
    const leave = await this.#fleet.enter();
    this.#startedAt ||= performance.now();
    try {
      const query = new URLSearchParams({ name: this.#name, ports: this.#ports, boot: this.#boot });
      const upgraded = await connectWebSocket({
        ...{ host: '127.0.0.1', port, path: `/v1/control?${query}`, token: this.#token, deadlineMs: HANDSHAKE_MS },
        connect: connectFrom(sourceOf(this.index), port),
      });
      const control: ControlSocket = new ControlSocket(upgraded, {
        role: 'client',
        onText: (text) => this.#onText(text),
        onGone: ({ close, reason }) => {
          if (this.#control === control) this.#onGone(`${close} ${reason}`); // else it has moved on from this one
        },
      });
      this.#control = control;
    } catch (error) {
      const { code, retryAfterMs } = error as CulvertError;
      this.#fleet.onRefused(error instanceof CulvertError ? code : (error as Error).message);
      this.#again(
        code === 'unavailable' && retryAfterMs === undefined ? { kind: 'failed' } : { kind: 'refused', code, retryAfterMs },
      );
    } finally {
      leave();
    }
  }

  /** Its link is cut: no close frame. */
  drop(): void {
    this.#startedAt = performance.now();
    this.#control?.kill('bye');
  }

  #onText(text: string): void {
    const message = decodeMessage(text);
    if (message.type === 'endpoint') {
      this.#place = message.url === undefined ? { port: message.public_port ?? 0 } : { host: new URL(message.url).host };
    } else if (message.type === 'ready') {
      const now = performance.now();
      this.#fleet.onReady(this, this.#place, this.#readyAt > 0 ? undefined : now - this.#startedAt);
      this.#readyAt = now;
      this.#startedAt = 0;
    } else if (message.type === 'wind_down') {
      this.#again({ kind: 'wind_down', reconnectMs: message.reconnect_ms });
    } else if (message.type === 'dial') {
      void this.#serve(message);
    }
  }

  #onGone(why: string): void {
    const livedMs = this.#readyAt === 0 ? 0 : performance.now() - this.#readyAt;
    if (this.#readyAt > 0) this.#fleet.onLost();
    else this.#fleet.onRefused(why);
    this.#readyAt = 0;
    this.#startedAt ||= performance.now();
    this.#again(livedMs > 0 ? { kind: 'lost', livedMs } : { kind: 'failed' });
  }

  #again(ending: Ending): void {
    const { state, waitMs } = nextAttempt(this.#state, ending, 1, Math.random());
    this.#state = state;
    setTimeout(() => void this.connect(), waitMs);
  }

  /** A dial: the local target first, then the transfer, as agents do. */
  async #serve({ id, path, canary }: DialMessage): Promise<void> {
    this.#fleet.onDial();
    const { edgePort, targets } = this.#fleet;
    const open = () =>
      dialTransfer({
        ...{ host: '127.0.0.1', port: edgePort, path, token: this.#token },
        connect: connectFrom(sourceOf(this.index), edgePort),
      });
    if (canary === true) {
      await open().then(
        (transfer) => transfer.cut(),
        () => {},
      );
      return;
    }
    try {
      const local = await connectLocal({ host: '127.0.0.1', port: this.#ports === '80' ? targets.web : targets.echo });
      try {
        const transfer = await open();
        await transfer.splice(local);
      } catch (error) {
        local.destroy();
        throw error;
      }
    } catch (error) {
      if (error instanceof CulvertError && error.code.startsWith('local_')) {
        this.#control?.sendText(encodeMessage({ type: 'refused', id, code: 'local_refused' }));
      }
      // else the listener names it to the visitor, whose outcome is counted
    }
  }
}
