import { jetstream } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { Agent, fetch, request } from 'undici';
import { type AgentOptions, RunningAgent } from './agent.ts';

/** Parts of the system that a test may restart, whatever they run as. */
export type Part = 'ws-ingress' | 'tcp-listener' | 'lease-manager' | 'port-allocator' | 'admin' | 'edge' | 'redis' | 'nats';

/** Where a running system is reached, and with which secrets. */
export interface SystemInfo {
  edge: string;
  domain: string;
  admin: string;
  adminToken: string;
  /** With the integrator's credentials. */
  nats: string;
}

export interface CulvertEventLike {
  id: string;
  type: string;
  subject: string;
  time: string;
  data: Record<string, unknown>;
}

export interface EventReader {
  /** The next event in the order of the bus. */
  next(deadlineMs?: number): Promise<CulvertEventLike>;
  close(): Promise<void>;
}

const RECOVERING_MS = 60_000;

/**
 * A whole running system and what may be done to it. There are two makers: `Stack`, of processes on this machine, and
 * `ContainerSystem`, of the images. What both must do is in system-conformance.ts.
 */
export abstract class System {
  readonly #agents = new Set<RunningAgent>();
  #dispatcher: Agent | undefined;

  abstract get info(): SystemInfo;
  /** Certificate (PEM) that the edge and the API are verified by; undefined without TLS, or where it needs none of ours. */
  abstract get ca(): string | undefined;
  /** Path of a file with that certificate. */
  protected abstract get caFile(): string | undefined;
  /** Ends one part and starts it again with what it had: by SIGTERM, or as a crash by SIGKILL. Settles when it serves again. */
  abstract restartPart(part: Part, signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Ends the agents, then the system; nothing of it is left. */
  abstract stop(): Promise<number | null>;

  protected async endClients(): Promise<void> {
    for (const agent of this.#agents) await agent.kill();
    await this.#dispatcher?.destroy();
  }

  /** One call of the REST API. */
  async admin(method: string, path: string, body?: unknown): Promise<{ status: number; body: never }> {
    const { admin, adminToken } = this.info;
    const answer = await fetch(new URL(path, admin), {
      method,
      ...this.#trust(),
      headers: { authorization: `Bearer ${adminToken}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      signal: AbortSignal.timeout(15_000),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: answer.status, body: (await answer.json()) as never };
  }

  /** A page of the dashboard, or a file of it, as a browser that is not logged in gets it. */
  async dashboard(path: string): Promise<{ status: number; type: string; body: string }> {
    const answer = await fetch(new URL(path, this.info.admin), { ...this.#trust(), signal: AbortSignal.timeout(15_000) });
    return { status: answer.status, type: answer.headers.get('content-type') ?? '', body: await answer.text() };
  }

  #trust(): { dispatcher?: Agent } {
    const { ca } = this;
    if (ca === undefined) return {};
    this.#dispatcher ??= new Agent({ connect: { ca } });
    return { dispatcher: this.#dispatcher };
  }

  /** One GET at the edge with this Host. */
  async fetchHost(host: string, path = '/'): Promise<{ status: number; body: string }> {
    const answer = await request(new URL(path, this.info.edge), {
      headers: { host },
      ...this.#trust(),
      headersTimeout: 30_000,
      bodyTimeout: 30_000,
    });
    return { status: answer.statusCode, body: await answer.body.text() };
  }

  /** Adds a device; resolves with its token. While the store comes back from a restart the API asks to try again, which is done. */
  async addDevice(name: string): Promise<string> {
    const until = Date.now() + RECOVERING_MS;
    let { status, body } = await this.admin('POST', '/v1/devices', { name });
    while (status === 503 && (body as { code: string }).code === 'recovering' && Date.now() < until) {
      await new Promise((done) => setTimeout(done, 200));
      ({ status, body } = await this.admin('POST', '/v1/devices', { name }));
    }
    if (status !== 201) throw new Error(`adding ${name}: ${status} ${JSON.stringify(body)}`);
    return (body as { token: string }).token;
  }

  /** Starts the agent's real command line; it need not become ready. */
  spawnAgent({ server = this.info.edge, ...options }: AgentOptions & { server?: string }): RunningAgent {
    const { caFile } = this;
    const env = { ...(caFile === undefined ? {} : { CULVERT_CA_FILE: caFile }), ...options.env };
    const agent = new RunningAgent(server, { ...options, env });
    this.#agents.add(agent);
    return agent;
  }

  /** The same, and waits until it is ready. */
  async runAgent(options: AgentOptions): Promise<RunningAgent> {
    const agent = this.spawnAgent(options);
    await agent.event('ready', 30_000);
    return agent;
  }

  /** A connection with the integrator's credentials. */
  integrator(): Promise<NatsConnection> {
    const { host, username, password } = new URL(this.info.nats);
    return connect({ servers: host, user: decodeURIComponent(username), pass: decodeURIComponent(password) });
  }

  /** Follows both streams from now on as an integrator would, by subject. */
  async events(subject: string): Promise<EventReader> {
    const nats = await this.integrator();
    const queue: CulvertEventLike[] = [];
    let wake: () => void = () => {};
    nats.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) return;
        queue.push(message.json<CulvertEventLike>());
        wake();
      },
    });
    await nats.flush();
    return {
      next: async (deadlineMs = 15_000) => {
        const end = Date.now() + deadlineMs;
        while (queue.length === 0) {
          const left = end - Date.now();
          if (left <= 0) throw new Error(`no event on ${subject} for ${deadlineMs} ms`);
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, left);
            wake = () => {
              clearTimeout(timer);
              resolve();
            };
          });
        }
        return queue.shift() as CulvertEventLike;
      },
      close: () => nats.close(),
    };
  }

  /** All events that a stream holds now, oldest first, read by an ordered consumer. */
  async storedEvents(stream: string, subject: string): Promise<CulvertEventLike[]> {
    const nats = await this.integrator();
    try {
      const consumer = await jetstream(nats).consumers.get(stream, { filter_subjects: subject });
      const { num_pending: pending } = await consumer.info();
      const events: CulvertEventLike[] = [];
      if (pending === 0) return events;
      const messages = await consumer.consume();
      for await (const message of messages) {
        events.push(message.json<CulvertEventLike>());
        if (message.info.pending === 0) break;
      }
      await messages.close();
      return events;
    } finally {
      await nats.close();
    }
  }
}
