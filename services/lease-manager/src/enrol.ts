import { timingSafeEqual } from 'node:crypto';
import { AuditLog, type CommandReply, type CommandRequest, type KeptRecord } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import { addDevice } from './add-device.ts';
import type { ManagerDeps } from './deps.ts';

type Request = CommandRequest<'enrolment.use'>;
type Key = KeptRecord<'enrolment'>;

/** Devices that use a key at the same time count one after the other; who is overtaken reads again, this often. */
const TRIES = 16;

/**
 * One enrolment:
 *
 *   key known, right, not expired? -> enrolled before with this very token? -> count the use -> note -> add -> label
 *
 * Each step can be repeated by the device that never heard the answer: what it finds done is not done again. A name that is
 * taken gives the use back.
 * @throws CulvertError `unauthorized`, `forbidden` (no use is left), `already_exists`, `unavailable`
 */
export async function enrol(request: Request, deps: ManagerDeps): Promise<CommandReply<'enrolment.use'>> {
  const { device, key: id, token_digest, remote } = request;
  const audit = new AuditLog(deps.bus.nc, 'culvert/lease-manager');
  let outcome = 'internal';
  try {
    const key = await keyOf(request, deps);
    const reply = await enrolWith(key, request, deps);
    outcome = 'ok';
    return reply;
  } catch (error) {
    if (error instanceof CulvertError) outcome = error.code;
    throw error;
  } finally {
    deps.log.info({ event: 'device.enrolled', device, key: id, remote, outcome });
    // Without a right key it is anybody's attempt: those are in the log only.
    if (outcome !== 'unauthorized') {
      await audit.write({
        ...{ operator: `key:${id}`, role: null, action: 'device.enrol', object: device, from: remote.slice(0, 128), outcome },
        detail: { token: token_digest.slice(0, 8) },
      });
    }
  }
}

async function keyOf({ key: id, key_digest }: Request, { records }: ManagerDeps): Promise<Key> {
  const { record } = await records.get({ collection: 'enrolment', id });
  const key = record as Key | null;
  // A withdrawn or expired key is not told from one that never was.
  if (key === null || !timingSafeEqual(Buffer.from(key.value.key_digest), Buffer.from(key_digest))) {
    throw new CulvertError('unauthorized', 'the enrolment key is not valid, or not any more');
  }
  return key;
}

async function enrolWith(key: Key, request: Request, deps: ManagerDeps): Promise<CommandReply<'enrolment.use'>> {
  const { records, store } = deps;
  const { device, token_digest, remote } = request;
  const note = { collection: 'enrolled' as const, id: `${key.id}.${device}` };
  const { record } = await records.get(note);
  const enrolled = record as KeptRecord<'enrolled'> | null;
  const known = await store.devices.show(device);
  // What an operator has taken away no key gives back, least of all the very token.
  if (known?.revoked === true) throw new CulvertError('forbidden', `${device} was revoked; an operator can add it again`);
  if (enrolled !== null && enrolled.value.token_digest !== token_digest) throw taken(device);
  if (enrolled === null) {
    if (known !== null) throw taken(device);
    await count(key.id, -1, deps);
    const value = { token_digest, remote: remote.slice(0, 128), enrolled_at: Date.now() };
    const ttl = key.expires_at === null ? {} : { ttl_ms: Math.max(1, key.expires_at - Date.now()) };
    await records.put({ ...note, value, expected: 0, ...ttl });
  }
  try {
    const added = await addDevice({ device, token_digest }, deps);
    await label(device, key, deps);
    return added;
  } catch (error) {
    if (!(error instanceof CulvertError) || error.code !== 'already_exists') throw error;
    if ((await store.devices.authenticate(device, token_digest)) === 'ok') {
      await label(device, key, deps);
      return { ok: true, created_at: (await store.devices.show(device))?.created_at ?? 0 };
    }
    if (enrolled === null) {
      await records.delete(note);
      await count(key.id, 1, deps);
    }
    throw taken(device);
  }
}

/** One use less, or back again. @throws CulvertError `forbidden` when none is left, `unauthorized` when the key is gone. */
async function count(id: string, by: 1 | -1, { records }: ManagerDeps): Promise<void> {
  for (let tries = 0; tries < TRIES; tries++) {
    const { record } = await records.get({ collection: 'enrolment', id });
    const key = record as Key | null;
    if (key === null) throw new CulvertError('unauthorized', 'the enrolment key is not valid any more');
    const { uses_left } = key.value;
    if (uses_left === null) return;
    if (uses_left + by < 0) throw new CulvertError('forbidden', 'the enrolment key has been used as often as it may');
    const ttl = key.expires_at === null ? {} : { ttl_ms: Math.max(1, key.expires_at - Date.now()) };
    try {
      const value = { ...key.value, uses_left: uses_left + by };
      await records.put({ collection: 'enrolment', id, value, expected: key.revision, ...ttl });
      return;
    } catch (error) {
      if (!(error instanceof CulvertError) || error.code !== 'conflict') throw error;
    }
  }
  throw new CulvertError('unavailable', 'many devices use this key at once', { retryAfterMs: 1_000 });
}

async function label(device: string, { value: { labels } }: Key, { records }: ManagerDeps): Promise<void> {
  if (Object.keys(labels).length === 0) return;
  await records.put({ collection: 'profile', id: device, value: { labels, notes: '' }, expected: 0 }).catch((error: unknown) => {
    if (!(error instanceof CulvertError) || error.code !== 'already_exists') throw error; // an operator was faster
  });
}

const taken = (device: string): CulvertError =>
  new CulvertError('already_exists', `a device named ${device} exists; choose another name`);
