/** Subjects of events are `<type>.<device>` (or `<type>.<instance id>`, `<type>.<incarnation>`). */
export const EVENT_TYPES = [
  'device.connected',
  'device.disconnected',
  'device.refused',
  'device.flapping',
  'device.budget',
  'lease.granted',
  'lease.resumed',
  'lease.grace',
  'lease.expired',
  'lease.moved',
  'conn.opened',
  'conn.closed',
  'conn.failed',
  'ports.exhausted',
  'instance.gone',
  'store.recovered',
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/** The stream of device.*, lease.*, ports.*, instance.* and store.*: at least once, in order. */
export const EVENTS_STREAM = 'CULVERT_EVENTS';
export const EVENTS_SUBJECTS = ['device.*.*', 'lease.*.*', 'ports.*.*', 'instance.*.*', 'store.*.*'];
/** The stream of conn.*: at most once, bounded. */
export const CONN_STREAM = 'CULVERT_CONN';
export const CONN_SUBJECTS = ['conn.*.*'];

/** The JetStream KV bucket with the present state of each device that ever had a lease. */
export const DEVICES_BUCKET = 'CULVERT_DEVICES';
/** Keys of devices begin so: with one token more than events have, the bucket's own messages are none of `*.*.<device>`. */
export const DEVICES_PREFIX = 'device.';
/** In that bucket, beside the devices: up to which sequence of EVENTS_STREAM it is complete. */
export const DEVICES_POSITION = '_position';
/** Version of the events' shape: the first number is raised when a field or a type goes or changes its meaning. */
export const EVENTS_VERSION = '1.1.0';
/** Events that a webhook's receiver did not take: subject = `dead.webhook.<id>`. */
export const DEAD_STREAM = 'CULVERT_DEAD';
export const DEAD_SUBJECTS = ['dead.webhook.*'];
