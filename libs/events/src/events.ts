import type { AnyEvent } from '@culvert/bus';
import { connect, type NatsConnection, type NodeConnectionOptions } from '@nats-io/transport-node';
import { consume } from './consume.ts';
import type { ConsumeOptions } from './options.ts';
import { type DeviceUpdate, type WatchOptions, watchDevices } from './watch-devices.ts';

/** Events of a Culvert server. Owns its connection when it was made by `connectEvents`. */
export class Events {
  readonly nc: NatsConnection;

  /** On a connection of your own, which stays yours to close. */
  constructor(nc: NatsConnection) {
    this.nc = nc;
  }

  /** Events in order, each once; see ConsumeOptions for how to be told those that came while you were away. */
  consume(options?: ConsumeOptions): AsyncGenerator<AnyEvent, void, void> {
    return consume(this.nc, options);
  }

  /** All devices as they are, then every change. */
  watchDevices(options?: WatchOptions): AsyncGenerator<DeviceUpdate, void, void> {
    return watchDevices(this.nc, options);
  }

  async close(): Promise<void> {
    await this.nc.close();
  }
}

/**
 * Connects by `nats://user:password@host:port` (the read-only user of `stack.json`'s `nats`), several servers separated by
 * commas; `options` are those of the NATS client. The connection mends itself for ever.
 */
export async function connectEvents(url: string, options: NodeConnectionOptions = {}): Promise<Events> {
  const servers = url.split(',').map((one) => new URL(one));
  const [{ username = '', password = '' } = {}] = servers;
  const nc = await connect({
    servers: servers.map(({ host }) => host),
    ...(username === '' ? {} : { user: decodeURIComponent(username), pass: decodeURIComponent(password) }),
    maxReconnectAttempts: -1,
    ...options,
  });
  return new Events(nc);
}
