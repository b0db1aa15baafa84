import { randomUUID } from 'node:crypto';
import { AUDIT_STREAM, CulvertError } from '@culvert/contracts';
import { type JetStreamClient, jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { type AuditEntry, auditSubject } from './audit.ts';

const WRITE_MS = 5_000;
/** Entries read at once, newest first. */
const WINDOW = 256;
/** Windows looked through for one page; a filter that fits little answers a cursor to go on with. */
const MOST_WINDOWS = 16;

export interface AuditFilter {
  operator?: string | undefined;
  /** `device.revoke`; every other one is left out. */
  action?: string | undefined;
  object?: string | undefined;
}

/** The audit entries: written one by one, acknowledged, never changed; read newest first. */
export class AuditLog {
  readonly #nc: NatsConnection;
  readonly #source: string;
  #client: JetStreamClient | undefined;

  /** @param source The instance that writes. */
  constructor(nc: NatsConnection, source: string) {
    this.#nc = nc;
    this.#source = source;
  }

  /** Resolves when the entry is on disk. @throws CulvertError `unavailable` */
  async write(entry: Omit<AuditEntry, 'id' | 'time'>): Promise<void> {
    const id = randomUUID();
    const time = Date.now();
    const event = {
      ...{ specversion: '1.0', id, source: this.#source, type: auditSubject(entry.action), subject: entry.object },
      ...{ time: new Date(time).toISOString(), datacontenttype: 'application/json' },
      data: { id, time, ...entry },
    };
    try {
      if (this.#nc.isClosed()) throw new Error('NATS is not connected');
      this.#client ??= jetstream(this.#nc, { timeout: WRITE_MS });
      await this.#client.publish(auditSubject(entry.action), JSON.stringify(event), { msgID: id, timeout: WRITE_MS });
    } catch (cause) {
      throw new CulvertError('unavailable', 'the audit log cannot be written', { cause, retryAfterMs: 2_000 });
    }
  }

  /** Newest first. `cursor` is the one of the page before; null on the last. @throws CulvertError `unavailable` */
  async read(
    filter: AuditFilter,
    limit: number,
    cursor?: number | undefined,
  ): Promise<{ entries: AuditEntry[]; cursor: number | null }> {
    try {
      const { state } = await (await jetstreamManager(this.#nc)).streams.info(AUDIT_STREAM);
      const entries: AuditEntry[] = [];
      let end = Math.min(cursor ?? Number.POSITIVE_INFINITY, state.last_seq + 1);
      for (let windows = 0; end > state.first_seq && windows < MOST_WINDOWS; windows++) {
        const start = Math.max(state.first_seq, end - WINDOW);
        for (const { seq, entry } of (await this.#window(start, end)).reverse()) {
          if (fits(entry, filter)) entries.push(entry);
          end = seq;
          if (entries.length === limit) return { entries, cursor: end > state.first_seq ? end : null };
        }
        end = start;
      }
      return { entries, cursor: end > state.first_seq ? end : null };
    } catch (cause) {
      throw new CulvertError('unavailable', 'the audit log cannot be read', { cause, retryAfterMs: 2_000 });
    }
  }

  /** Entries from `start` up to, not including, `end`. */
  async #window(start: number, end: number): Promise<{ seq: number; entry: AuditEntry }[]> {
    this.#client ??= jetstream(this.#nc, { timeout: WRITE_MS });
    const consumer = await this.#client.consumers.get(AUDIT_STREAM, { opt_start_seq: start });
    const found: { seq: number; entry: AuditEntry }[] = [];
    try {
      const batch = await consumer.fetch({ max_messages: end - start, expires: WRITE_MS });
      for await (const message of batch) {
        if (message.seq >= end) break;
        found.push({ seq: message.seq, entry: message.json<{ data: AuditEntry }>().data });
        if (message.seq === end - 1 || message.info.pending === 0) break;
      }
    } finally {
      await consumer.delete().catch(() => {});
    }
    return found;
  }
}

function fits(entry: AuditEntry, { operator, action, object }: AuditFilter): boolean {
  return (
    (operator === undefined || entry.operator === operator) &&
    (action === undefined || entry.action === action) &&
    (object === undefined || entry.object === object)
  );
}
