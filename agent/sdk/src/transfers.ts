import { CulvertError } from '@culvert/contracts';
import type { DialMessage } from '@culvert/wire';
import type { Control } from './control.ts';
import type { TransferEvent } from './events.ts';
import type { Mapping } from './mapping.ts';
import type { Settings } from './options.ts';
import { serveTransfer } from './transfer.ts';

/** All transfers of an agent: the cap, and the end of them. They outlive the control connection that asked for them. */
export class Transfers {
  readonly #settings: Settings;
  readonly #onClosed: (event: TransferEvent) => void;
  readonly #running = new Map<string, { done: Promise<void>; abort: AbortController }>();
  readonly #closing = new Set<Promise<void>>();

  constructor(settings: Settings, onClosed: (event: TransferEvent) => void) {
    this.#settings = settings;
    this.#onClosed = onClosed;
  }

  /** Answers one dial: a transfer, or a `refused` when the port is not declared or there are too many. */
  start(dial: DialMessage, control: Control): void {
    if (this.#running.has(dial.id)) return; // asked twice, for instance by both connections of a move: one answer is enough
    const mapping = this.#settings.mappings.get(dial.port);
    if (mapping === undefined) control.refuse(dial.id, 'not_allowed');
    else if (this.#running.size >= this.#settings.transfers) control.refuse(dial.id, 'busy');
    else this.#serve(dial, mapping, control);
  }

  #serve(dial: DialMessage, mapping: Mapping, control: Control): void {
    const abort = new AbortController();
    const done = serveTransfer(dial, mapping, control, this.#settings, abort.signal).then(({ event, gone }) => {
      this.#running.delete(dial.id); // the next visitor need not wait for the closing handshake
      this.#closing.add(gone);
      void gone.then(() => this.#closing.delete(gone));
      this.#settings.log({ ...event, event: 'transfer.closed', visitor: dial.visitor });
      this.#onClosed(event);
    });
    this.#running.set(dial.id, { done, abort });
  }

  /** Waits for the running ones, at most `limitMs`; then resets what is left. */
  async finish(limitMs: number): Promise<void> {
    const timer = setTimeout(() => this.abort(), limitMs);
    await Promise.all([...this.#running.values()].map(({ done }) => done));
    clearTimeout(timer);
    await Promise.all(this.#closing);
  }

  abort(): void {
    for (const { abort } of this.#running.values()) abort.abort(new CulvertError('wind_down', 'the agent stops'));
  }
}
