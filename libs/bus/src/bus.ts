import { CulvertError, type ErrorCode, isErrorCode } from '@culvert/contracts';
import { Svcm } from '@nats-io/services';
import {
  connect,
  headers,
  type Msg,
  type NatsConnection,
  NoRespondersError,
  type Subscription,
  TimeoutError,
} from '@nats-io/transport-node';
import { Compile, type Validator } from 'typebox/compile';
import {
  COMMANDS,
  type CommandName,
  type CommandReply,
  type CommandRequest,
  type InstanceCommand,
  type SharedCommand,
  subjectOf,
} from './commands.ts';

export interface BusLog {
  info(fields: object, text?: string): void;
  warn(fields: object, text?: string): void;
  error(fields: object, text?: string): void;
}

/** Told of every command that has ended: `ok`, or the code of the refusal. */
export interface BusObserver {
  asked(command: CommandName, outcome: string, ms: number): void;
  served(command: CommandName, outcome: string, ms: number): void;
}

export interface BusOptions {
  /** nats://user:password@host:port, several separated by commas. */
  url: string;
  /** Name shown in NATS monitoring: the instance's id. */
  name: string;
  /** Name of the service in `nats micro ls`. */
  service: string;
  log: BusLog;
  /** Deadline of a command unless the caller gives one, in milliseconds. */
  commandMs: number;
  observer?: BusObserver;
}

export interface RequestOptions {
  /** Deadline in milliseconds; the default is the bus's COMMAND_MS. */
  timeoutMs?: number;
  /** W3C trace context, sent as the header `traceparent`. */
  traceparent?: string | undefined;
}

/** What came with a command beside its payload. */
export interface CommandContext {
  /** As it was sent: to be checked by who uses it. */
  traceparent: string | undefined;
}

export type Handler<N extends CommandName> = (
  request: CommandRequest<N>,
  context: CommandContext,
) => Promise<CommandReply<N>> | CommandReply<N>;

/** The asker itself must have been connected this long before "no responders" is believed (design: section 5). */
const TRUST_SILENCE_AFTER_MS = 5_000;
/** Replies to services arrive here: apart from the `_INBOX` of integrators, who must not overhear them. */
const INBOX_PREFIX = '_INBOX_SERVICES';
/** Commands under way at once in one process and command; more are refused as unavailable. */
const MAX_CONCURRENT = 2_000;

interface Checks {
  request: Validator;
  reply: Validator;
}
const compiled = new Map<CommandName, Checks>();
function checksOf(command: CommandName): Checks {
  let checks = compiled.get(command);
  if (checks === undefined) {
    checks = { request: Compile(COMMANDS[command].request), reply: Compile(COMMANDS[command].reply) };
    compiled.set(command, checks);
  }
  return checks;
}

function faultOf(check: Validator, value: unknown): string | undefined {
  if (check.Check(value)) return undefined;
  const first = check.Errors(value)[0];
  return first === undefined ? 'does not fit its schema' : `${first.instancePath || '/'} ${first.message}`;
}

/**
 * NATS as our services use it: commands with schemas at both ends, and the raw connection for JetStream.
 * Visitors' bytes never pass here.
 */
export class Bus {
  readonly nc: NatsConnection;
  readonly #options: BusOptions;
  #connectedSince = Date.now();
  readonly #subscriptions: Subscription[] = [];
  readonly #reconnected = new Set<() => void>();

  private constructor(nc: NatsConnection, options: BusOptions) {
    this.nc = nc;
    this.#options = options;
    void this.#watch();
  }

  /** Connects, trying for up to `deadlineMs`; afterwards the connection mends itself for ever. */
  static async connect(options: BusOptions, deadlineMs = 30_000): Promise<Bus> {
    const until = Date.now() + deadlineMs;
    const servers = options.url.split(',');
    const first = new URL(servers[0] as string);
    for (;;) {
      try {
        const nc = await connect({
          servers: servers.map((server) => new URL(server).host),
          name: options.name,
          inboxPrefix: INBOX_PREFIX,
          ...(first.username === ''
            ? {}
            : { user: decodeURIComponent(first.username), pass: decodeURIComponent(first.password) }),
          maxReconnectAttempts: -1,
          reconnectTimeWait: 250,
          reconnectJitter: 250,
          pingInterval: 5_000,
          maxPingOut: 2,
          timeout: 3_000,
          noAsyncTraces: true, // a stack of the caller made for each request costs more than the request
        });
        return new Bus(nc, options);
      } catch (cause) {
        if (Date.now() > until) throw new CulvertError('unavailable', `NATS at ${first.host} cannot be reached`, { cause });
        await new Promise((done) => setTimeout(done, 250));
      }
    }
  }

  async #watch(): Promise<void> {
    for await (const status of this.nc.status()) {
      if (status.type === 'disconnect') {
        this.#connectedSince = Number.POSITIVE_INFINITY;
        this.#options.log.warn({ event: 'bus.disconnected' });
      } else if (status.type === 'reconnect') {
        this.#connectedSince = Date.now();
        this.#options.log.info({ event: 'bus.reconnected' });
        for (const listener of this.#reconnected) listener();
      }
    }
  }

  get connected(): boolean {
    return Number.isFinite(this.#connectedSince) && !this.nc.isClosed();
  }

  onReconnected(listener: () => void): void {
    this.#reconnected.add(listener);
  }

  /**
   * Sends a command and waits for its reply. A reply with `ok: false` is a return value: the caller handles it.
   * @throws CulvertError `unavailable` when nobody answers in time, `not_found` when the named instance is gone for
   *   sure, `internal` when a payload breaks its schema.
   */
  async request<N extends SharedCommand>(
    command: N,
    payload: CommandRequest<N>,
    options?: RequestOptions,
  ): Promise<CommandReply<N>> {
    return this.#ask(command, subjectOf(command), payload, options);
  }

  /** The same to one instance. */
  async requestOf<N extends InstanceCommand>(
    instance: string,
    command: N,
    payload: CommandRequest<N>,
    options?: RequestOptions,
  ): Promise<CommandReply<N>> {
    return this.#ask(command, subjectOf(command, instance), payload, options);
  }

  async #ask<N extends CommandName>(
    command: N,
    subject: string,
    payload: CommandRequest<N>,
    options: RequestOptions = {},
  ): Promise<CommandReply<N>> {
    const startedAt = performance.now();
    let outcome = 'internal';
    try {
      const reply = await this.#exchange(command, subject, payload, options);
      outcome = outcomeOf(reply);
      return reply;
    } catch (error) {
      if (error instanceof CulvertError) outcome = error.code;
      throw error;
    } finally {
      this.#options.observer?.asked(command, outcome, performance.now() - startedAt);
    }
  }

  async #exchange<N extends CommandName>(
    command: N,
    subject: string,
    payload: CommandRequest<N>,
    options: RequestOptions,
  ): Promise<CommandReply<N>> {
    const checks = checksOf(command);
    const fault = faultOf(checks.request, payload);
    if (fault !== undefined) throw new CulvertError('internal', `${subject}: request ${fault}`);
    const until = Date.now() + (options.timeoutMs ?? this.#options.commandMs);
    const body = JSON.stringify(payload);
    const traced = options.traceparent === undefined ? {} : { headers: headers() };
    if (options.traceparent !== undefined) traced.headers?.set('traceparent', options.traceparent);
    for (let silent = 0; ; ) {
      // While NATS is away the client would keep requests in memory; fail at once instead.
      if (!this.connected) throw new CulvertError('unavailable', `${subject}: NATS is not connected`);
      try {
        const message = await this.nc.request(subject, body, { ...traced, timeout: Math.max(1, until - Date.now()) });
        const reply: unknown = message.json();
        const wrong = faultOf(checks.reply, reply);
        if (wrong !== undefined) throw new CulvertError('internal', `${subject}: reply ${wrong}`);
        return reply as CommandReply<N>;
      } catch (cause) {
        if (cause instanceof CulvertError) throw cause;
        if (isSilence(cause)) {
          silent += 1;
          if (silent >= 2 && Date.now() - this.#connectedSince > TRUST_SILENCE_AFTER_MS) {
            throw new CulvertError('not_found', `${subject}: nobody serves it`, { cause });
          }
          if (Date.now() + 1_000 < until) {
            await new Promise((done) => setTimeout(done, 1_000));
            continue;
          }
        }
        const why = cause instanceof TimeoutError ? 'no reply in time' : String(cause);
        throw new CulvertError('unavailable', `${subject}: ${why}`, { cause });
      }
    }
  }

  /** Serves a shared command in the service's queue group, as a NATS service. Call once with all handlers of a service. */
  async serve(version: string, handlers: { [N in SharedCommand]?: Handler<N> }): Promise<void> {
    const service = await new Svcm(this.nc).add({ name: this.#options.service, version, queue: this.#options.service });
    for (const [command, handler] of Object.entries(handlers) as [SharedCommand, Handler<SharedCommand>][]) {
      const answer = this.#answerer(command, handler);
      service.addEndpoint(command.replace('.', '-'), {
        subject: subjectOf(command),
        handler: (error, message) => {
          if (error === null) answer(message);
        },
      });
    }
    await this.nc.flush();
  }

  /** Serves commands that are addressed to this very instance. */
  async serveInstance(instance: string, handlers: { [N in InstanceCommand]?: Handler<N> }): Promise<void> {
    for (const [command, handler] of Object.entries(handlers) as [InstanceCommand, Handler<InstanceCommand>][]) {
      const answer = this.#answerer(command, handler);
      const subscription = this.nc.subscribe(subjectOf(command, instance), {
        callback: (error, message) => {
          if (error === null) answer(message);
        },
      });
      this.#subscriptions.push(subscription);
    }
    await this.nc.flush();
  }

  #answerer<N extends CommandName>(
    command: N,
    handler: Handler<N>,
  ): (message: Pick<Msg, 'json' | 'respond' | 'headers'>) => void {
    const checks = checksOf(command);
    let running = 0;
    const answer = async (message: Pick<Msg, 'json' | 'respond' | 'headers'>): Promise<void> => {
      let reply: unknown;
      const startedAt = performance.now();
      running += 1;
      try {
        if (running > MAX_CONCURRENT)
          throw new CulvertError('unavailable', `${command}: too many at once`, { retryAfterMs: 1_000 });
        const request: unknown = message.json();
        const fault = faultOf(checks.request, request);
        if (fault !== undefined) throw new CulvertError('bad_request', `${command}: ${fault}`);
        reply = await handler(request as CommandRequest<N>, { traceparent: message.headers?.get('traceparent') || undefined });
        const wrong = faultOf(checks.reply, reply);
        if (wrong !== undefined) throw new CulvertError('internal', `${command}: reply ${wrong}`);
      } catch (error) {
        reply = refusalOf(error);
        if (!(error instanceof CulvertError) || error.code === 'internal') {
          this.#options.log.error({ event: 'command.failed', command, err: error });
        }
      } finally {
        running -= 1;
      }
      message.respond(JSON.stringify(reply));
      this.#options.observer?.served(command, outcomeOf(reply), performance.now() - startedAt);
    };
    return (message) => void answer(message);
  }

  /** Stops taking commands, lets running ones answer, closes. */
  async close(): Promise<void> {
    if (this.nc.isClosed()) return;
    if (this.connected) await Promise.race([this.nc.drain(), new Promise((done) => setTimeout(done, 2_000).unref())]);
    await this.nc.close();
  }
}

function outcomeOf(reply: unknown): string {
  const { ok, code } = reply as { ok?: boolean; code?: unknown };
  if (ok !== false) return 'ok';
  return typeof code === 'string' && isErrorCode(code) ? code : 'internal';
}

function isSilence(error: unknown): boolean {
  return error instanceof NoRespondersError || (error instanceof Error && error.cause instanceof NoRespondersError);
}

/** What a failed handler answers. Text of unknown errors stays in our log. */
export function refusalOf(error: unknown): { ok: false; code: ErrorCode; message: string; retry_after_ms?: number } {
  if (!(error instanceof CulvertError)) return { ok: false, code: 'internal', message: 'internal error' };
  return {
    ok: false,
    code: error.code,
    message: error.message.slice(0, 500),
    ...(error.retryAfterMs === undefined ? {} : { retry_after_ms: error.retryAfterMs }),
  };
}

/** Turns a refusal back into the error it was. */
export function errorOfRefusal(refusal: { code: string; message: string; retry_after_ms?: number | undefined }): CulvertError {
  const code = isErrorCode(refusal.code) ? refusal.code : 'internal';
  return new CulvertError(
    code,
    refusal.message,
    refusal.retry_after_ms === undefined ? {} : { retryAfterMs: refusal.retry_after_ms },
  );
}
