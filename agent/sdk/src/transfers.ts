import { CulvertError } from '@culvert/contracts';
import { Stopper, type StopSignal, type Transfer, type WarmDevice } from '@culvert/relay';
import type { AssignMessage, DialMessage } from '@culvert/wire';
import type { Control } from './control.ts';
import type { TransferEvent } from './events.ts';
import type { Mapping } from './mapping.ts';
import { TransferOpener } from './open-transfer.ts';
import type { Settings } from './options.ts';
import { serveAssigned, serveCanary, serveTransfer } from './transfer.ts';
import { TransferHealth } from './transfer-health.ts';
import { WarmTransfers } from './warm.ts';

/** How the server names operators as visitors. */
const OPERATOR = 'operator:';

/** All transfers of an agent, warm ones included: the cap, and the end of them. They outlive the control connection that asked for them. */
export class Transfers {
  readonly #settings: Settings;
  readonly #onClosed: (event: TransferEvent) => void;
  readonly #running = new Map<string, { done: Promise<void>; abort: Stopper }>();
  /** Those whose visitor is over. */
  readonly #closing = new Map<Transfer, Promise<void>>();
  readonly #opener: TransferOpener;
  readonly #warm: WarmTransfers;
  readonly #stop = new AbortController();
  #canary: Promise<void> | undefined;
  #finishing = false;
  #killing: NodeJS.Timeout | undefined;

  constructor(settings: Settings, onClosed: (event: TransferEvent) => void) {
    this.#settings = settings;
    this.#onClosed = onClosed;
    this.#opener = new TransferOpener(settings, new TransferHealth(settings.limits.MEND_REST_MS));
    this.#warm = new WarmTransfers(settings, this.#opener, {
      room: () => settings.transfers - this.#running.size - this.#warm.size,
      onAssign: (message, warm) => this.#assigned(message, warm),
    });
  }

  /** A newer control connection: warm transfers are opened by way of its server from here on. */
  movedTo(control: Control): void {
    this.#warm.movedTo(control);
  }

  /** Answers one dial: a transfer, or a `refused` when the port is not declared or there are too many. */
  start(dial: DialMessage, control: Control): void {
    if (this.#running.has(dial.id)) return; // asked twice, for instance by both connections of a move: one answer is enough
    const mapping = this.#mappingFor(dial);
    if (dial.canary === true) this.#answerCanary(dial, control);
    else if (mapping === undefined) control.refuse(dial.id, 'not_allowed');
    else if (this.#running.size >= this.#settings.transfers) control.refuse(dial.id, 'busy');
    else {
      if (this.#running.size + this.#warm.size >= this.#settings.transfers) this.#warm.giveUpOne();
      this.#run(dial, async (signal) => {
        const { event, closing } = await serveTransfer(dial, mapping, control, this.#opener, this.#settings, signal);
        if (closing !== undefined) this.#closes(closing); // the next visitor need not wait for it
        return event;
      });
      this.#warm.visitedBy(dial.path, control);
    }
  }

  /** One at a time; it counts as no transfer. */
  #answerCanary(dial: DialMessage, control: Control): void {
    if (this.#canary !== undefined) control.refuse(dial.id, 'busy');
    this.#canary ??= serveCanary(dial, control, this.#opener, this.#settings, this.#stop.signal).finally(() => {
      this.#canary = undefined;
    });
  }

  #assigned(message: AssignMessage, warm: WarmDevice): void {
    const mapping = this.#mappingFor(message);
    if (mapping === undefined) warm.refuse('not_allowed');
    else if (this.#finishing || this.#running.size >= this.#settings.transfers) warm.refuse('busy');
    else this.#run(message, (signal) => serveAssigned(message, mapping, warm, this.#settings, signal));
  }

  /** What is not declared is for operators only, and only where we were told to allow it. */
  #mappingFor({ port, visitor }: { port: number; visitor: string }): Mapping | undefined {
    const { mappings, forwards } = this.#settings;
    return mappings.get(port) ?? (visitor.startsWith(OPERATOR) ? forwards.get(port) : undefined);
  }

  #run({ id, visitor }: { id: string; visitor: string }, serve: (signal: StopSignal) => Promise<TransferEvent>): void {
    const abort = new Stopper();
    const done = serve(abort).then((event) => {
      this.#running.delete(id);
      this.#warm.visited();
      this.#settings.log({ ...event, event: 'transfer.closed', visitor });
      this.#onClosed(event);
    });
    this.#running.set(id, { done, abort });
  }

  #closes({ transfer, gone }: { transfer: Transfer; gone: Promise<void> }): void {
    this.#closing.set(transfer, gone);
    void gone.then(() => this.#closing.delete(transfer));
  }

  /**
   * Closes the warm ones that wait, and waits for the running ones and for the last bytes of those that close, at most `limitMs`;
   * then resets what is left, within CLOSE_MS.
   */
  async finish(limitMs: number): Promise<void> {
    this.#finishing = true;
    this.#stop.abort();
    const warm = this.#warm.finish();
    const timer = setTimeout(() => this.abort(), limitMs);
    await Promise.all([...this.#running.values()].map(({ done }) => done));
    await Promise.all([warm, this.#canary, ...this.#closing.values()]);
    clearTimeout(timer);
    clearTimeout(this.#killing);
  }

  /** Resets the running ones, and ends within CLOSE_MS those that close behind bytes which a server does not take. */
  abort(): void {
    this.#killing ??= setTimeout(() => this.#kill(), this.#settings.limits.CLOSE_MS).unref(); // sockets keep a process, not this
    for (const { abort } of this.#running.values()) abort.abort(new CulvertError('wind_down', 'the agent stops'));
  }

  #kill(): void {
    for (const transfer of this.#closing.keys()) transfer.kill('wind_down');
    this.#warm.kill();
  }
}
