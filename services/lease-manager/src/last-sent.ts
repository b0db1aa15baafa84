import { EVENTS_STREAM } from '@culvert/contracts';
import type { LeaseStore } from '@culvert/lease-store';
import type { JetStreamManager } from '@nats-io/jetstream';

/** Where in the outbox a message of the stream came from: `<store incarnation> <position>`. */
export const OUTBOX_HEADER = 'Culvert-Outbox';

export interface Place {
  /** Of the stream's last message. */
  sequence: number;
  /** Of the outbox: everything up to it is in the stream. */
  position: string;
}

/**
 * The stream says how far the outbox has been sent; `foreign`: its last message is of another incarnation of the store.
 * @throws CulvertError `recovering`
 */
export async function lastSent(jsm: JetStreamManager, store: LeaseStore): Promise<Place & { foreign: boolean }> {
  const { state } = await jsm.streams.info(EVENTS_STREAM);
  if (state.messages === 0) return { sequence: state.last_seq, position: '0', foreign: false };
  const last = await jsm.streams.getMessage(EVENTS_STREAM, { seq: state.last_seq });
  const [incarnation, position] = (last?.header?.get(OUTBOX_HEADER) ?? '').split(' ');
  // Positions of an earlier life of the store mean nothing in this one.
  const known = incarnation === (await store.incarnation()) && position !== undefined;
  return { sequence: state.last_seq, position: known ? position : '0', foreign: !known };
}
