import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { CulvertError, ERRORS, type ErrorCode } from '@culvert/contracts';
import { type DialMessage, type Ending, initialBackoff, type NextAttempt, nextAttempt } from '@culvert/wire';
import { type Control, openControl } from './control.ts';
import type { AgentEvents } from './events.ts';
import { type AgentOptions, type Settings, settingsOf } from './options.ts';
import { isAnswer } from './transfer-health.ts';
import { Transfers } from './transfers.ts';

/** How an attempt, or the control connection that came of it, ended, and how that is told. */
interface Ended {
  ending: Ending;
  code: ErrorCode;
  message: string;
  status?: number;
}

/**
 * A device's end of Culvert: keeps one control connection, answers dials, connects again for ever.
 *
 *   new --run--> connecting <--wait--> ready --wind_down--> ready, connecting the next one --> ready ...
 *                     \______________________stop, signal_______________________________/--> stopped
 *
 * Running transfers do not depend on the control connection: they go on while it is lost, replaced or said goodbye to.
 */
export class Agent extends EventEmitter<AgentEvents> {
  readonly #settings: Settings;
  readonly #transfers: Transfers;
  /** Tells one start of the agent from the next, so that a move is not taken for a second device. */
  readonly #boot = randomBytes(16).toString('base64url');
  readonly #stopping = new AbortController();
  #control: Control | undefined;
  #running: Promise<void> | undefined;

  constructor(settings: Settings) {
    super();
    this.#settings = settings;
    this.#transfers = new Transfers(settings, (event) => this.emit('transfer', event));
    this.#stopping.signal.addEventListener('abort', () => void this.#control?.leave(), { once: true });
  }

  /**
   * Runs until `stop()` or the signal; resolves once everything is closed. Faults of the network or the server never reject
   * it: they are events. An agent runs once; a second call waits for the first.
   */
  run(options: { signal?: AbortSignal } = {}): Promise<void> {
    const { signal } = options;
    const onAbort = (): void => this.#stopping.abort();
    if (signal?.aborted) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#running ??= this.#live();
    return this.#running.finally(() => signal?.removeEventListener('abort', onAbort));
  }

  /** Says bye, lets running transfers finish for at most STOP_MS, closes everything within CLOSE_MS more. Safe to call twice. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** Stops without waiting: running transfers are reset, everything is closed within CLOSE_MS. */
  abort(): void {
    this.#stopping.abort();
    this.#transfers.abort();
  }

  async #live(): Promise<void> {
    try {
      await this.#connectForEver();
    } finally {
      await Promise.all([this.#control?.leave(), this.#transfers.finish(this.#settings.limits.STOP_MS)]);
      this.#control = undefined;
      this.emit('stopped');
    }
  }

  async #connectForEver(): Promise<void> {
    const { servers, backoff } = this.#settings;
    let next: NextAttempt = { state: initialBackoff(backoff), waitMs: 0, server: 0 };
    while (!this.#stopping.signal.aborted) {
      const ended = await this.#attempt(servers[next.server] as URL);
      if (this.#stopping.signal.aborted) return;
      next = nextAttempt(next.state, ended.ending, servers.length, Math.random(), backoff);
      this.#tell(ended, next.waitMs);
      const leaving = ended.ending.kind === 'wind_down' ? this.#control : undefined;
      const lost = await this.#pause(next.waitMs, leaving);
      const { ending } = ended;
      if (lost === undefined && leaving !== undefined && ending.kind === 'wind_down') {
        await leaving.quiet(ending.reconnectMs - next.waitMs); // inline transfers end with it
      }
      if (lost === undefined) continue;
      next = nextAttempt(next.state, lost.ending, servers.length, Math.random(), backoff); // it did not stay until our slot
      this.#tell(lost, next.waitMs);
      await this.#pause(next.waitMs, undefined);
    }
  }

  /** One control connection, from the attempt to its loss or to the server's wish that we move. */
  async #attempt(server: URL): Promise<Ended> {
    this.emit('connecting', { server: server.origin });
    let control: Control;
    try {
      control = await openControl(this.#settings, server, this.#boot, this.#stopping.signal, {
        onEndpoint: (endpoint) => this.emit('endpoint', endpoint),
        onDial: (dial, from) => this.#onDial(dial, from),
      });
    } catch (err) {
      return endedBy(err);
    }
    const previous = this.#control;
    this.#control = control;
    if (this.#stopping.signal.aborted) void control.leave(); // it was too late to be told
    void previous?.drop(); // make before break: only now
    this.#transfers.movedTo(control);
    this.emit('ready', control.ready);
    const lost = control.closed.then((ending) => this.#lost(control, ending));
    return Promise.race([lost, control.windDown.then(movedBy)]);
  }

  #lost(control: Control, { code, message }: { code: ErrorCode; message: string }): Ended {
    if (this.#control === control) this.#control = undefined;
    return { ending: { kind: 'lost', livedMs: performance.now() - control.since, code }, code, message };
  }

  #onDial(dial: DialMessage, from: Control): void {
    if (this.#stopping.signal.aborted) from.refuse(dial.id, 'busy');
    else this.#transfers.start(dial, from);
  }

  #tell({ ending, code, message, status }: Ended, retryInMs: number): void {
    if (ending.kind === 'wind_down') return;
    if (ending.kind === 'refused') this.emit('refused', { code, message, status: status ?? 0, retryInMs });
    else this.emit('disconnected', { code, message, retryInMs });
  }

  /** Waits; resolves at once at stop, and with its ending when the connection that we are leaving breaks before. */
  async #pause(ms: number, leaving: Control | undefined): Promise<Ended | undefined> {
    const over = new AbortController();
    const waits: Promise<Ended | undefined>[] = [delay(ms, AbortSignal.any([over.signal, this.#stopping.signal]))];
    if (leaving !== undefined) waits.push(leaving.closed.then((ending) => this.#lost(leaving, ending)));
    try {
      return await Promise.race(waits);
    } finally {
      over.abort();
    }
  }
}

/**
 * Makes an agent; `run()` starts it.
 *
 * @throws CulvertError `bad_request` that names every faulty option.
 */
export function createAgent(options: AgentOptions): Agent {
  return new Agent(settingsOf(options));
}

/** A refusal is an answer of the server: it carries a code of the table that stands for an HTTP status, and no cause. */
function endedBy(err: unknown): Ended {
  const message = textOf(err);
  if (!(err instanceof CulvertError)) return { ending: { kind: 'failed' }, code: 'unavailable', message };
  const { code, retryAfterMs } = err;
  const status = ERRORS[code].http;
  if (status === null || !isAnswer(err)) return { ending: { kind: 'failed' }, code, message };
  return { ending: { kind: 'refused', code, retryAfterMs }, code, message, status };
}

function movedBy(reconnectMs: number): Ended {
  return { ending: { kind: 'wind_down', reconnectMs }, code: 'wind_down', message: 'the server winds down' };
}

function textOf(err: unknown): string {
  if (err instanceof AggregateError && err.errors.length > 0) return err.errors.map(textOf).join('; ');
  if (!(err instanceof Error)) return String(err);
  return err.cause === undefined ? err.message : `${err.message}: ${textOf(err.cause)}`;
}

function delay(ms: number, signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(undefined);
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve(undefined);
    }
    signal.addEventListener('abort', done);
  });
}
