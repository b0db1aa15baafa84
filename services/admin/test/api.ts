import { Bus, type CommandReply, type LeaseSchema } from '@culvert/bus';
import {
  AUDIT_STREAM,
  AUDIT_SUBJECTS,
  CulvertError,
  DEFAULT_LIMITS,
  EVENTS_STREAM,
  EVENTS_SUBJECTS,
  type Limits,
} from '@culvert/contracts';
import { createLogger } from '@culvert/service-kit';
import { type ServerProcess, startNats } from '@culvert/test/harness/servers.ts';
import { jetstreamManager } from '@nats-io/jetstream';
import type Type from 'typebox';
import { buildServer } from '../src/server.ts';

const log = createLogger('admin', 'admin-1', 'silent');
const TOKEN = 'a-token-for-the-operator';
type Lease = Type.Static<typeof LeaseSchema>;
interface Registered {
  created_at: number;
  revoked: boolean;
  labels?: Record<string, string>;
  notes?: string;
}

/** The API by HTTP, real NATS, and a registry in memory that answers as lease-manager does. */
export class TestApi {
  readonly nats: ServerProcess;
  readonly manager: Bus;
  readonly url: string;
  readonly devices = new Map<string, Registered>();
  readonly leases = new Map<string, Lease>();
  /** Records by `<collection> <id>`. */
  readonly records = new Map<string, { value: unknown; revision: number }>();
  /** Commands that were served, by name. */
  readonly served: string[] = [];
  readonly #close: () => Promise<void>;

  private constructor(nats: ServerProcess, manager: Bus, url: string, close: () => Promise<void>) {
    this.nats = nats;
    this.manager = manager;
    this.url = url;
    this.#close = close;
  }

  static async start(limits: Partial<Limits> = {}): Promise<TestApi> {
    const nats = await startNats();
    const connect = (service: string) => Bus.connect({ url: nats.url, name: `${service}-1`, service, log, commandMs: 3_000 });
    const [manager, bus] = await Promise.all([connect('lease-manager'), connect('admin')]);
    const jsm = await jetstreamManager(manager.nc);
    await jsm.streams.add({ name: AUDIT_STREAM, subjects: AUDIT_SUBJECTS });
    await jsm.streams.add({ name: EVENTS_STREAM, subjects: EVENTS_SUBJECTS });
    const app = await buildServer({
      ...{ bus, log, id: 'admin-1', token: TOKEN, limits: { ...DEFAULT_LIMITS, ...limits } },
      side: { scheme: 'http', port: 8080, tcpHost: 'culvert.localhost' },
    });
    const url = await app.listen({ host: '127.0.0.1', port: 0 });
    const api = new TestApi(nats, manager, url, async () => {
      await app.close();
      await Promise.all([bus.close(), manager.close()]);
      await nats.stop();
    });
    await api.#serve();
    return api;
  }

  async #serve(): Promise<void> {
    const recordOf = (device: string) => ({ device, ...(this.devices.get(device) as Registered) });
    await this.manager.serve('1.0.0', {
      'device.add': ({ device }) => {
        this.served.push('device.add');
        if (this.devices.has(device)) throw new CulvertError('already_exists', `${device} exists`);
        this.devices.set(device, { created_at: 1_690_000_000_000, revoked: false });
        return { ok: true, created_at: 1_690_000_000_000 };
      },
      'device.list': ({ limit = 100, cursor }): CommandReply<'device.list'> => {
        this.served.push('device.list');
        const names = [...this.devices.keys()].sort().filter((name) => cursor === undefined || name > cursor);
        const page = names.slice(0, limit).map((name) => ({ ...recordOf(name), lease: this.leases.get(name) ?? null }));
        return { ok: true, devices: page, cursor: names.length > limit ? (page.at(-1)?.device ?? null) : null };
      },
      'device.show': ({ device }) => {
        this.served.push('device.show');
        if (!this.devices.has(device)) throw new CulvertError('not_found', `there is no device ${device}`);
        return { ok: true, device: recordOf(device), lease: this.leases.get(device) ?? null };
      },
      'record.get': ({ collection, id }) => {
        const record = this.records.get(`${collection} ${id}`);
        return { ok: true, record: record === undefined ? null : { id, ...record, expires_at: null } };
      },
      'record.put': ({ collection, id, value, expected, ttl_ms }) => {
        const key = `${collection} ${id}`;
        const revision = this.records.get(key)?.revision ?? 0;
        if (expected === 0 && revision !== 0) throw new CulvertError('already_exists', 'it is there');
        if (expected !== undefined && expected !== revision) throw new CulvertError('conflict', 'it was changed');
        this.records.set(key, { value, revision: revision + 1 });
        return { ok: true, revision: revision + 1, expires_at: ttl_ms === undefined ? null : Date.now() + ttl_ms };
      },
      'record.delete': ({ collection, id }) => ({ ok: true, deleted: this.records.delete(`${collection} ${id}`) }),
    });
  }

  add(name: string, more: Partial<Registered> = {}, lease?: Partial<Lease>): void {
    this.devices.set(name, { created_at: 1_690_000_000_000, revoked: false, ...more });
    if (lease !== undefined) this.leases.set(name, leaseOf(name, lease));
  }

  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const answer = await fetch(this.url + path, {
      method,
      headers: {
        authorization: `Bearer ${TOKEN}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    // biome-ignore lint/suspicious/noExplicitAny: what it is, is what the tests look at
    return { status: answer.status, headers: answer.headers, body: (await answer.json()) as any };
  }

  /** The live feed; the text so far grows as it comes. */
  feed(query = '', headers: Record<string, string> = {}): Promise<{ text: () => string; stop: () => void }> {
    return this.stream(`/v1/events${query}`, headers);
  }

  async stream(path: string, headers: Record<string, string> = {}): Promise<{ text: () => string; stop: () => void }> {
    const stop = new AbortController();
    const answer = await fetch(this.url + path, {
      headers: { authorization: `Bearer ${TOKEN}`, ...headers },
      signal: stop.signal,
    });
    if (!answer.ok) throw new Error(`the feed answers ${answer.status}`);
    let text = '';
    void (async () => {
      for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) text += chunk;
    })().catch(() => {});
    return { text: () => text, stop: () => stop.abort() };
  }

  close(): Promise<void> {
    return this.#close();
  }
}

function leaseOf(device: string, more: Partial<Lease>): Lease {
  return {
    ...{ device, state: 'held', epoch: 41, rev: 2, since: 1_700_000_000_000, due: null, ingress: 'ws-ingress-1', control: 'c1' },
    ...{ listener: 'tcp-listener-1', boot: 'b', remote: '192.0.2.7', warm: 0, transfers: 256, max_frame: 65_536 },
    endpoints: [{ port: 80, scheme: 'http', host: `${device}-x7.culvert.localhost`, public_port: 20_001 }],
    ...more,
  };
}
