import type { DeviceState } from '@culvert/bus';
import { DEVICES_BUCKET, DEVICES_PREFIX } from '@culvert/contracts';
import { type KV, Kvm } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/transport-node';

export type LastWords = DeviceState;

/** Reads the snapshot that is made of the events; one reader for the whole instance. */
export class DeviceStates {
  readonly #nc: NatsConnection;
  readonly #answerMs: number;
  #bucket: Promise<KV> | undefined;

  constructor(nc: NatsConnection, answerMs: number) {
    this.#nc = nc;
    this.#answerMs = answerMs;
  }

  /** What the events said last of a device; undefined when nothing is known, or nobody answers in time. */
  async of(device: string): Promise<LastWords | undefined> {
    const late = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => late.resolve(undefined), this.#answerMs);
    try {
      return await Promise.race([this.#read(device), late.promise]);
    } catch {
      this.#bucket = undefined; // asked for anew the next time
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  async #read(device: string): Promise<LastWords | undefined> {
    this.#bucket ??= new Kvm(this.#nc).open(DEVICES_BUCKET);
    const entry = await (await this.#bucket).get(DEVICES_PREFIX + device);
    return entry === null || entry.operation !== 'PUT' ? undefined : entry.json<LastWords>();
  }
}
