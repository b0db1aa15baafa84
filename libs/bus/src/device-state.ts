import { DISCONNECT_REASONS, type DisconnectReason, type Endpoint, type LeaseState } from '@culvert/contracts';
import type { AnyEvent, CulvertEvent, EventName } from './events.ts';

/** A device as its events tell it: the value of its key in the bucket CULVERT_DEVICES. */
export interface DeviceState {
  device: string;
  /** `offline`: it has no lease, neither name nor ports. */
  state: LeaseState | 'offline';
  /** Of the last event that is in it: what is not newer changes nothing. */
  epoch: number;
  seq: number;
  /** Since when it is in this state; milliseconds since 1970. */
  since: number;
  /** Why. */
  reason: string;
  /** When the grace period runs out; null in other states. */
  due: number | null;
  endpoints: Endpoint[];
  listener: string;
  /** The ws-ingress instance with its control connection; empty when it has none. */
  ingress: string;
  /** Its address; of the last connection while it has none. */
  remote: string;
}

/** Does (epoch, seq) come after that other one? */
export const isNewer = (a: { epoch: number; seq: number }, b: { epoch: number; seq: number } | undefined): boolean =>
  b === undefined || a.epoch > b.epoch || (a.epoch === b.epoch && a.seq > b.seq);

/** Events of which (epoch, seq) orders all about one device. */
export const isAboutDevice = ({ type }: { type: string }): boolean => /^(?:device|lease)\./.test(type);

const is = <N extends EventName>(event: CulvertEvent, type: N): event is CulvertEvent<N> => event.type === type;

/**
 * The device after the event; `before` is undefined for one that nothing is known of. Answers `before` itself when the event
 * is none about a device, or is not newer than it. The bucket's writer and its readers use this very function.
 */
export function applyEvent(before: DeviceState | undefined, given: AnyEvent): DeviceState | undefined {
  const event: CulvertEvent = given;
  if (!isAboutDevice(event) || !isNewer(event.data, before)) return before;
  const { epoch, seq } = event.data;
  const known = before ?? unknown(event.subject);
  const at = Date.parse(event.time);
  const enter = (state: DeviceState['state'], more: Partial<DeviceState> = {}): DeviceState => {
    const since = known.state === state ? known.since : at;
    return { ...known, state, since, due: null, reason: reasonOf(event), ...more, epoch, seq };
  };
  if (is(event, 'lease.granted') || is(event, 'lease.resumed')) {
    return enter('held', { endpoints: event.data.endpoints as Endpoint[], listener: event.data.listener });
  }
  if (is(event, 'device.connected')) {
    const { endpoints, listener, ingress, remote } = event.data;
    return enter('held', { endpoints: endpoints as Endpoint[], listener, ingress, remote });
  }
  if (is(event, 'device.disconnected')) {
    // One that left in order goes to grace at once, and `lease.grace` follows with the due time.
    const clean = DISCONNECT_REASONS[event.data.reason as DisconnectReason]?.clean ?? false;
    return enter(clean ? 'grace' : 'reconnecting', { ingress: '' });
  }
  if (is(event, 'lease.grace')) return enter('grace', { due: event.data.due, ingress: '' });
  if (is(event, 'lease.expired')) return enter('offline', { endpoints: [], listener: '', ingress: '' });
  if (is(event, 'lease.moved')) {
    return { ...known, endpoints: event.data.endpoints as Endpoint[], listener: event.data.listener, epoch, seq };
  }
  return { ...known, epoch, seq };
}

const reasonOf = ({ data }: CulvertEvent): string => ('reason' in data ? data.reason : '');

const unknown = (device: string): DeviceState => ({
  ...{ device, state: 'offline', epoch: 0, seq: 0, since: 0, reason: '', due: null },
  ...{ endpoints: [], listener: '', ingress: '', remote: '' },
});
