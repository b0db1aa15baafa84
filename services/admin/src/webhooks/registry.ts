import { randomBytes } from 'node:crypto';
import type { KeptRecord, Records } from '@culvert/bus';
import { CulvertError, DEAD_STREAM, EVENT_TYPES, EVENTS_STREAM, faultOfDeviceName, type Limits } from '@culvert/contracts';
import { AckPolicy, DeliverPolicy, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { faultOfUrl } from './address-guard.ts';
import { ACK_WAIT_MS, UNDER_WAY, type Webhook } from './courier.ts';
import type { DeadLetters } from './dead-letters.ts';
import { createSecret } from './sign.ts';

const NANOS = 1_000_000;

/** Name of the consumer that says how far a webhook has come. */
export const consumerOf = (webhook: string): string => `webhook-${webhook}`;

export interface NewWebhook {
  url: string;
  types: string[];
  devices: string[];
  created_by: string;
}

export interface RegistryOptions {
  records: Records;
  nc: NatsConnection;
  dead: DeadLetters;
  limits: Pick<Limits, 'WEBHOOKS' | 'EVENTS_RETENTION_MS'>;
  privateAllowed: boolean;
}

/** Webhooks as operators manage them. Whoever owns one (see owners.ts) learns of a change within seconds. */
export class WebhookRegistry {
  readonly #options: RegistryOptions;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  /** Events from this moment on are for it. @throws CulvertError `bad_request`, `conflict` */
  async add({ url, types, devices, created_by }: NewWebhook): Promise<KeptRecord<'webhook'>> {
    const { records, limits, privateAllowed, nc } = this.#options;
    const fault =
      faultOfUrl(url, privateAllowed) ?? types.map(faultOfType).find(Boolean) ?? devices.map(faultOfDeviceName).find(Boolean);
    if (fault !== undefined) throw new CulvertError('bad_request', fault);
    let count = 0;
    for await (const _ of records.all('webhook')) count += 1;
    if (count >= limits.WEBHOOKS) throw new CulvertError('conflict', `there are ${count} webhooks, and no more are allowed`);
    const id = `wh${randomBytes(8).toString('hex')}`;
    const jsm = await jetstreamManager(nc);
    await jsm.consumers.add(EVENTS_STREAM, {
      durable_name: consumerOf(id),
      ack_policy: AckPolicy.Explicit,
      ack_wait: ACK_WAIT_MS * NANOS,
      max_ack_pending: UNDER_WAY,
      deliver_policy: DeliverPolicy.New,
      // Where nobody has asked for so long, nothing is left to go on from.
      inactive_threshold: limits.EVENTS_RETENTION_MS * NANOS,
    });
    const value: Webhook = {
      ...{ url, types, devices, secret: createSecret(), created_at: Date.now(), created_by },
      state: { kind: 'on' },
    };
    try {
      return await records.put('webhook', id, value, { expected: 0 });
    } catch (error) {
      await jsm.consumers.delete(EVENTS_STREAM, consumerOf(id)).catch(() => {});
      throw error;
    }
  }

  async list(): Promise<KeptRecord<'webhook'>[]> {
    const all: KeptRecord<'webhook'>[] = [];
    for await (const record of this.#options.records.all('webhook')) all.push(record);
    return all;
  }

  /** @throws CulvertError `not_found` */
  async find(id: string): Promise<KeptRecord<'webhook'>> {
    const record = /^wh[0-9a-f]{16}$/.test(id) ? await this.#options.records.get('webhook', id) : null;
    if (record === null) throw new CulvertError('not_found', `there is no webhook ${id}`);
    return record;
  }

  /** What it did not get yet is gone with it, its dead letters too. */
  async remove(id: string): Promise<void> {
    const { records, nc, dead } = this.#options;
    await this.find(id);
    await records.delete('webhook', id);
    await (await jetstreamManager(nc)).consumers.delete(EVENTS_STREAM, consumerOf(id)).catch(() => {}); // it goes by itself, later
    await dead.forget(id);
  }

  /** Delivers again after it was disabled, what came meanwhile included. */
  async enable(id: string): Promise<KeptRecord<'webhook'>> {
    const { value, revision } = await this.find(id);
    return this.#options.records.put('webhook', id, { ...value, state: { kind: 'on' } }, { expected: revision });
  }

  /**
   * Sends its dead letters again, or every event since a time; under way within seconds, after which the record says so no more.
   * @throws CulvertError `conflict` while one is under way.
   */
  async replay(id: string, from: 'dead' | number): Promise<void> {
    const { records, nc, dead } = this.#options;
    const { value, revision } = await this.find(id);
    if (value.replay !== undefined) throw new CulvertError('conflict', `a replay of ${id} is under way already`);
    await dead.ready();
    const { streams } = await jetstreamManager(nc);
    const stream = from === 'dead' ? 'dead' : 'events';
    const { state } = await streams.info(from === 'dead' ? DEAD_STREAM : EVENTS_STREAM);
    const replay = {
      id: randomBytes(4).toString('hex'),
      stream,
      since: from === 'dead' ? 0 : from,
      until: state.last_seq,
    } as const;
    await records.put('webhook', id, { ...value, replay }, { expected: revision });
  }
}

function faultOfType(type: string): string | undefined {
  const known = EVENT_TYPES.filter((name) => !name.startsWith('conn.'));
  if (type.startsWith('conn.')) return `type ${type} is at most once and may come by the thousand a second; follow it on NATS`;
  const fits = known.some((name) => name === type || (type.endsWith('.*') && name.startsWith(type.slice(0, -1))));
  return fits
    ? undefined
    : `there is no type ${JSON.stringify(type.slice(0, 64))}; expected some of ${known.join(', ')}, or a family such as device.*`;
}
