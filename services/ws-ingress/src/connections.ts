import type { ControlConnection } from './control-connection.ts';

/**
 * The control connections of this instance, by device and epoch. A command may overtake the answer to the acquire that
 * made its tenure (the listener is bound before the answer is sent), so a search waits for handshakes of that device.
 */
export class Connections {
  readonly #live = new Map<string, ControlConnection>();
  readonly #pending = new Map<string, Set<Promise<void>>>();

  get size(): number {
    return this.#live.size;
  }

  all(): ControlConnection[] {
    return [...this.#live.values()];
  }

  /** A lease is being acquired for the device; the returned function says that this is over. */
  announce(device: string): () => void {
    let settle = (): void => {};
    const settled = new Promise<void>((resolve) => {
      settle = resolve;
    });
    const ofDevice = this.#pending.get(device) ?? new Set();
    this.#pending.set(device, ofDevice.add(settled));
    return () => {
      ofDevice.delete(settled);
      if (ofDevice.size === 0 && this.#pending.get(device) === ofDevice) this.#pending.delete(device);
      settle();
    };
  }

  /** Takes the newest tenure of a device; one of an older epoch that is still here is told that it has moved. */
  add(connection: ControlConnection): void {
    const older = this.#live.get(connection.device);
    if (older !== undefined && older.epoch > connection.epoch) {
      connection.close('lease_lost', 'a newer tenure of this name is here already');
      return;
    }
    this.#live.set(connection.device, connection);
    if (older === undefined) return;
    if (older.boot === connection.boot && older.boot !== '') older.close('moved', 'this agent has a newer control connection');
    else older.close('superseded', 'a newer control connection has taken this name over');
  }

  delete(connection: ControlConnection): void {
    if (this.#live.get(connection.device) === connection) this.#live.delete(connection.device);
  }

  /** Whether that tenure, or a newer one of the device, is here; waits for one that is about to be. */
  async has(device: string, epoch: number, waitMs: number): Promise<boolean> {
    if ((await this.find(device, epoch, waitMs)) !== undefined) return true;
    return (this.#live.get(device)?.epoch ?? 0) > epoch;
  }

  /** The live connection of exactly that tenure; waits up to `waitMs` for one that is about to be here. */
  async find(device: string, epoch: number, waitMs: number): Promise<ControlConnection | undefined> {
    const until = Date.now() + waitMs;
    for (;;) {
      const live = this.#live.get(device);
      if (live?.epoch === epoch) return live;
      const pending = this.#pending.get(device);
      const left = until - Date.now();
      // A tenure newer than the asked one will not give way to it.
      if (pending === undefined || left <= 0 || (live !== undefined && live.epoch > epoch)) return undefined;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise((done) => {
        timer = setTimeout(done, left);
      });
      await Promise.race([...pending, late]);
      clearTimeout(timer);
    }
  }
}
