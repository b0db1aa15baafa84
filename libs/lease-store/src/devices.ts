import { timingSafeEqual } from 'node:crypto';
import { CulvertError } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { keys } from './keys.ts';
import type { DeviceRecord } from './records.ts';
import { guarded, readAlive, runScript, runVerdict } from './scripts.ts';

/** What is kept of a device outside of the store, too. */
export interface KeptDevice extends DeviceRecord {
  token_digest: string;
  /** Of a token that was issued and not used yet. */
  next_digest?: string;
  /** Counts the changes of its token. */
  generation: number;
}

/** A script that finds the tokens changed since the read before it is tried again this often. */
const REREADS = 3;

/** The device registry. Of tokens only hex SHA-256 digests are known. */
export class Devices {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /**
   * `next`: right, and the first use of the token that was issued last (see `promote`); `forbidden`: the token is valid but
   * another device's; `unauthorized`: everything else that is not right.
   */
  async authenticate(device: string, digest: string): Promise<'ok' | 'next' | 'unauthorized' | 'forbidden'> {
    const { values } = await readAlive(this.#redis, (reads) =>
      reads.hmget(keys.device(device), 'token_digest', 'revoked', 'next_digest').get(keys.token(digest)),
    );
    const [[known, revoked, next], of] = values as [(string | null)[], string | null];
    if (revoked !== '1' && isSame(known, digest)) return 'ok';
    if (revoked !== '1' && isSame(next, digest)) return 'next';
    const exists = typeof known === 'string' && revoked !== '1';
    return exists && of !== null && of !== device ? 'forbidden' : 'unauthorized';
  }

  /** @throws CulvertError `already_exists`. A revoked device may be added again, with another token. */
  async add(device: string, digest: string): Promise<{ created_at: number }> {
    const all = [keys.device(device), keys.token(digest), keys.devices, keys.incarnation];
    const [verdict, createdAt] = await runVerdict(this.#redis, 'add_device', all, [device, digest]);
    if (verdict === 'exists') throw new CulvertError('already_exists', `a device named ${device} exists`);
    if (verdict === 'token_taken') throw new CulvertError('already_exists', 'another device has this token');
    return { created_at: Number(createdAt) };
  }

  async show(device: string): Promise<DeviceRecord | null> {
    const kept = await this.kept(device);
    return kept && { device, created_at: kept.created_at, revoked: kept.revoked };
  }

  /** All that must outlive the store; null when there is no such device. */
  async kept(device: string): Promise<KeptDevice | null> {
    const { values } = await readAlive(this.#redis, (reads) => reads.hgetall(keys.device(device)));
    const hash = values[0] as Record<string, string>;
    if (hash.token_digest === undefined) return null;
    const { token_digest, next_digest, created_at, revoked, generation } = hash;
    return {
      device,
      token_digest,
      ...(next_digest === undefined ? {} : { next_digest }),
      created_at: Number(created_at),
      revoked: revoked === '1',
      generation: Number(generation ?? 0),
    };
  }

  /** Takes back an addition that could not be kept; nothing happens once somebody has connected with it. */
  async remove(device: string, digest: string): Promise<void> {
    await runScript(this.#redis, 'remove_device', [keys.device(device), keys.token(digest), keys.devices], [device, digest]);
  }

  /** In the order of the names, after `cursor`. */
  async list(cursor: string | undefined, limit: number): Promise<{ devices: DeviceRecord[]; cursor: string | null }> {
    const from = cursor === undefined || cursor === '' ? '-' : `(${cursor}`;
    const { values } = await readAlive(this.#redis, (reads) => reads.zrangebylex(keys.devices, from, '+', 'LIMIT', 0, limit));
    const names = values[0] as string[];
    const records = await Promise.all(names.map((name) => this.show(name)));
    return {
      devices: records.filter((record) => record !== null),
      cursor: names.length < limit ? null : (names.at(-1) ?? null),
    };
  }

  /**
   * Gives the device another token: the present one and the next are valid until the first use of the next. `atOnce`: the
   * present one is dead for new connections from now on. A running tenure goes on either way.
   * @throws CulvertError `not_found` (also for a revoked device), `already_exists` when another device has the token.
   */
  async rotate(device: string, digest: string, atOnce = false): Promise<void> {
    for (let reread = 0; reread < REREADS; reread++) {
      const read = await guarded(() => this.#redis.hmget(keys.device(device), 'token_digest', 'next_digest'));
      const [present = '', next = ''] = read.map((one) => one ?? '');
      const all = [keys.device(device), keys.token(present), keys.token(next), keys.token(digest), keys.incarnation];
      const args = [device, present, next, digest, atOnce ? '1' : '0'];
      const [verdict] = await runVerdict(this.#redis, 'rotate_device', all, args);
      if (verdict === 'ok') return;
      if (verdict === 'missing') throw new CulvertError('not_found', `there is no device named ${device}, or it is revoked`);
      if (verdict === 'token_taken') throw new CulvertError('already_exists', 'another device has this token');
    }
    throw new CulvertError('unavailable', `the token of ${device} is being changed by others`, { retryAfterMs: 1_000 });
  }

  /** The next token was used: it is the present one from now on, and the former is dead. False when it is not the next. */
  async promote(device: string, digest: string): Promise<boolean> {
    const former = (await guarded(() => this.#redis.hget(keys.device(device), 'token_digest'))) ?? '';
    const all = [keys.device(device), keys.token(former), keys.incarnation];
    const [verdict] = await runVerdict(this.#redis, 'promote_token', all, [device, former, digest]);
    return verdict === 'ok';
  }
}

function isSame(known: string | null | undefined, digest: string): boolean {
  if (typeof known !== 'string' || known.length !== digest.length) return false;
  return timingSafeEqual(Buffer.from(known), Buffer.from(digest));
}
