/** The names of all keys of the lease store. Times in them are milliseconds by the Redis server's clock. */
export const keys = {
  incarnation: 'store:incarnation',
  /** Of a store that has lost its data, until it is rebuilt; `store:incarnation` is absent meanwhile. */
  recovery: 'store:recovery',
  /** Replication id of the server that was taken into service last, and the least number of events of tenures from before it. */
  primary: 'store:primary',
  device: (device: string) => `device:${device}`,
  token: (digest: string) => `token:${digest}`,
  devices: 'devices',
  lease: (device: string) => `lease:${device}`,
  leases: 'leases',
  due: 'leases:due',
  /** Held leases of an ingress, leases of a listener in whatever state: devices in the order of their names. */
  leasesOfIngress: (ingress: string) => `leases:ingress:${ingress}`,
  leasesOfListener: (listener: string) => `leases:listener:${listener}`,
  route: (host: string) => `route:${host}`,
  /** Where another listener serves this name, `<epoch> <address> <listener>`; and which leases have one, by when it ends. */
  standIn: (host: string) => `standin:${host}`,
  standIns: 'standins',
  freePorts: (listener: string) => `ports:${listener}`,
  heldPorts: (listener: string) => `ports:${listener}:held`,
  portRange: (listener: string) => `ports:${listener}:range`,
  exhausted: (listener: string) => `exhausted:${listener}`,
  /** What a device has moved on a UTC day, YYYY-MM-DD. */
  usage: (device: string, day: string) => `usage:${device}:${day}`,
  outbox: 'outbox',
  instance: (id: string) => `instance:${id}`,
  knownInstances: 'instances:known',
  goneInstances: 'instances:cleanup',
  /** Which start of an instance was declared gone: that start reads it when it renews. */
  goneNotice: (id: string) => `instance:gone:${id}`,
  /** Listeners that are gone, by when they were heard last. */
  goneListeners: 'listeners:gone',
  rehoming: (listener: string) => `rehoming:${listener}`,
  sweepLast: 'sweep:last',
  sweepAmnesty: 'sweep:amnesty',
  sweepFloor: 'sweep:floor',
  /** Operators' data: one record, the ids of a collection, records with an end (by it), and those not mirrored yet (by revision). */
  kept: (collection: string, id: string) => `kept:${collection}:${id}`,
  keptIndex: (collection: string) => `keeping:index:${collection}`,
  keptDue: 'keeping:due',
  unmirrored: 'keeping:unmirrored',
  keptRevision: 'keeping:revision',
  /** How far the stream of the copies is known here. */
  keptPosition: 'keeping:position',
  relayLock: 'relay:lock',
  relayFence: 'relay:fence',
} as const;

/** Channel on which edges hear what has changed: the host of a route, `<collection> <id>` of a kept record, or `lease <device>`. */
export const ROUTE_CHANNEL = 'route.changed';

/** The keys that every lease script starts with. */
export const leaseKeys = (device: string): string[] => [
  keys.lease(device),
  keys.device(device),
  keys.leases,
  keys.due,
  keys.outbox,
  keys.incarnation,
];

/** The keys that every script about a kept record has. */
export const keptKeys = (collection: string, id: string): string[] => [
  keys.kept(collection, id),
  keys.keptIndex(collection),
  keys.keptDue,
  keys.unmirrored,
  keys.keptRevision,
];

/** The keys of what a listener has. */
export const listenerKeys = (listener: string): string[] => [
  keys.freePorts(listener),
  keys.heldPorts(listener),
  keys.portRange(listener),
  keys.leasesOfListener(listener),
];
