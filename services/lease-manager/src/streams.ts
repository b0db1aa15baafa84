import {
  AUDIT_STREAM,
  AUDIT_SUBJECTS,
  CONN_STREAM,
  CONN_SUBJECTS,
  EVENTS_STREAM,
  EVENTS_SUBJECTS,
  type Limits,
} from '@culvert/contracts';
import { DiscardPolicy, type JetStreamManager, RetentionPolicy, StorageType } from '@nats-io/jetstream';

/** Within this time NATS itself drops a message whose id it has seen. */
const DUPLICATES_MS = 120_000;
const nanos = (ms: number): number => ms * 1_000_000;

/** Makes the event streams and that of audit entries, or fits existing ones to the limits. */
export async function ensureStreams(jsm: JetStreamManager, limits: Limits): Promise<void> {
  await ensure(jsm, EVENTS_STREAM, {
    subjects: EVENTS_SUBJECTS,
    max_age: nanos(limits.EVENTS_RETENTION_MS),
    duplicate_window: nanos(Math.min(DUPLICATES_MS, limits.EVENTS_RETENTION_MS)),
    discard: DiscardPolicy.New,
  });
  await ensure(jsm, CONN_STREAM, {
    subjects: CONN_SUBJECTS,
    max_age: nanos(limits.EVENTS_RETENTION_MS),
    max_bytes: limits.CONN_EVENTS_BYTES,
    discard: DiscardPolicy.Old,
  });
  await ensure(jsm, AUDIT_STREAM, {
    subjects: AUDIT_SUBJECTS,
    max_age: nanos(limits.AUDIT_RETENTION_MS),
    duplicate_window: nanos(Math.min(DUPLICATES_MS, limits.AUDIT_RETENTION_MS)),
    discard: DiscardPolicy.New,
    deny_delete: true, // append-only: only age removes an entry
    deny_purge: true,
  });
}

async function ensure(jsm: JetStreamManager, name: string, config: StreamSettings): Promise<void> {
  const known = await jsm.streams.info(name).catch(() => undefined);
  if (known !== undefined) await jsm.streams.update(name, config);
  else await jsm.streams.add({ name, storage: StorageType.File, retention: RetentionPolicy.Limits, ...config });
}

interface StreamSettings {
  subjects: string[];
  max_age: number;
  discard: DiscardPolicy;
  duplicate_window?: number;
  max_bytes?: number;
  deny_delete?: boolean;
  deny_purge?: boolean;
}
