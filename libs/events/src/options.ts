import type { EventName } from '@culvert/bus';
import { CONN_STREAM, EVENT_TYPES, EVENTS_STREAM } from '@culvert/contracts';

/** Which events; without any of it all of device.*, lease.*, ports.*, instance.* and store.*. */
export interface EventFilter {
  /** Types such as `device.connected`, or a whole family: `device.*`. All of conn.*, or none. */
  types?: readonly (EventName | 'device.*' | 'lease.*' | 'conn.*' | 'ports.*' | 'instance.*' | 'store.*')[];
  /** Only events about this device (subject of the event). */
  device?: string;
}

export interface ConsumeOptions extends EventFilter {
  /**
   * Name under which the server remembers how far you came: after a stop, a crash or an hour away you go on there. One process
   * at a time. Without it nothing is remembered.
   */
  durable?: string;
  /** Where a new name, or none, begins: `now` (default without `durable`), or `beginning` of what is kept (default with it). */
  from?: 'now' | 'beginning';
  /** The server sends an event again that was not acknowledged for so long, in milliseconds; default 30,000. */
  ackWaitMs?: number;
  /** Ends the iteration. */
  signal?: AbortSignal;
}

export interface Selection {
  stream: string;
  /** What the server filters by. */
  subject: string;
  /** What is left to be filtered here. */
  wants(event: { type: string; subject: string }): boolean;
  /** The same choice always has the same text. */
  text: string;
}

/** @throws TypeError that names what is wrong and what would be right. */
export function select({ types = [], device }: EventFilter): Selection {
  if (device !== undefined && !/^[A-Za-z0-9_-]+$/.test(device)) {
    throw new TypeError(`device ${JSON.stringify(device)}: expected the name of a device such as alice`);
  }
  const wanted = new Set<string>(types.flatMap(typesOf));
  const ofConn = [...wanted].filter((name) => name.startsWith('conn.')).length;
  if (ofConn > 0 && ofConn < wanted.size) {
    throw new TypeError('types: conn.* have a stream of their own (at most once); consume them apart from the others');
  }
  const [first, ...others] = new Set([...wanted].map((name) => name.slice(0, name.indexOf('.'))));
  const [only] = wanted;
  const last = device ?? '*';
  return {
    stream: ofConn > 0 ? CONN_STREAM : EVENTS_STREAM,
    // A server before 2.10 filters by one subject, within one of the stream's.
    subject: wanted.size === 1 ? `${only}.${last}` : first === undefined || others.length > 0 ? '>' : `${first}.*.${last}`,
    wants: ({ type, subject }) => (wanted.size === 0 || wanted.has(type)) && (device === undefined || subject === device),
    text: `${[...wanted].sort().join(' ') || 'all'} of ${device ?? 'all'}`,
  };
}

function typesOf(type: string): string[] {
  const named = EVENT_TYPES.filter((name) => (type.endsWith('.*') ? name.startsWith(type.slice(0, -1)) : name === type));
  if (named.length > 0) return named;
  throw new TypeError(`types: there is no ${JSON.stringify(type)}; expected some of ${EVENT_TYPES.join(', ')}`);
}
