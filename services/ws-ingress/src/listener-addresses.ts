import { type InstanceRecord, instanceKey, type ServiceContext } from '@culvert/service-kit';

/** A listener that came back elsewhere is found again after this long. */
const AGE_MS = 2_000;

/** Where listeners serve transfers, by id, out of their own instance keys. */
export class ListenerAddresses {
  readonly #redis: ServiceContext<Record<never, never>>['redis'];
  readonly #known = new Map<string, { address: string | undefined; until: number }>();

  constructor(redis: ServiceContext<Record<never, never>>['redis']) {
    this.#redis = redis;
  }

  /** host and port; undefined when there is no such listener, or the store does not say. */
  async find(listener: string): Promise<{ host: string; port: number } | undefined> {
    const now = performance.now();
    for (const [id, { until }] of this.#known) if (until <= now) this.#known.delete(id);
    const address = this.#known.get(listener)?.address ?? (await this.#read(listener));
    if (address === undefined) return undefined;
    this.#known.set(listener, { address, until: this.#known.get(listener)?.until ?? now + AGE_MS });
    const at = address.lastIndexOf(':');
    return { host: address.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(address.slice(at + 1)) };
  }

  async #read(listener: string): Promise<string | undefined> {
    const text = await this.#redis.get(instanceKey(listener)).catch(() => null);
    if (text === null) return undefined;
    const record = JSON.parse(text) as InstanceRecord;
    return record.service === 'tcp-listener' && record.address !== '' ? record.address : undefined;
  }
}
