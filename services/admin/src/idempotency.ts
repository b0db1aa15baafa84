import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import type { Records, RecordValue } from '@culvert/bus';
import { CulvertError, type Limits } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { loginCookieOf } from './access/login-cookie.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Of a write with an Idempotency-Key that is under way here. */
    idempotent: Claim | undefined;
  }
}

/** A key that this request has taken. */
interface Claim {
  id: string;
  revision: number;
  request: string;
  key: Buffer;
  createdAt: number;
  answered: boolean;
}

export interface IdempotencyDeps {
  records: Records;
  limits: Pick<Limits, 'IDEMPOTENCY_MS'>;
  log: Logger;
}

const KEY = /^[\x21-\x7e]{8,255}$/;
/** A write that takes longer, or whose instance died in the midst of it, leaves its key free again. */
const UNDER_WAY_MS = 60_000;
const AGAIN_MS = 1_000;
const MOST_SEALED = 14_000;

/**
 * Writes that name an `Idempotency-Key` happen once: asked again with the same key, the answer is the same as before.
 *
 *   taken --the answer is kept--> answered for IDEMPOTENCY_MS
 *     \---a fault of ours, or the instance died---> free
 *
 * A key belongs to whoever presented the same token or login. Answers may hold a token that is shown once: what is kept is
 * sealed with a key made of what the operator presents, and nobody who reads the store can open it.
 */
export function answerOnce(app: FastifyInstance, { records, limits, log }: IdempotencyDeps): void {
  app.decorateRequest('idempotent');

  app.addHook('preHandler', async (request, reply) => {
    const given = request.headers['idempotency-key'];
    if (given === undefined || typeof request.routeOptions.config.audit !== 'string' || request.operator === null) return;
    if (typeof given !== 'string' || !KEY.test(given)) {
      throw new CulvertError(
        'bad_request',
        'Idempotency-Key is not valid; expected 8 to 255 visible ASCII characters, such as a UUID',
      );
    }
    const secret = presented(request);
    const id = digest('id', secret, given);
    const wanted = digest(request.method, request.url, JSON.stringify(request.body ?? null));
    const key = Buffer.from(hkdfSync('sha256', secret, given, 'culvert idempotency', 32));
    const createdAt = Date.now();
    const taken = await records
      .put('idempotency', id, { request: wanted, created_at: createdAt }, { expected: 0, ttlMs: UNDER_WAY_MS })
      .catch((error: unknown) => {
        if (error instanceof CulvertError && (error.code === 'already_exists' || error.code === 'conflict')) return undefined;
        throw error;
      });
    if (taken !== undefined) {
      request.idempotent = { id, revision: taken.revision, request: wanted, key, createdAt, answered: false };
      return;
    }
    const before = await records.get('idempotency', id);
    if (before !== null && before.value.request !== wanted) {
      throw new CulvertError('conflict', 'this Idempotency-Key was used for another request; take a new one');
    }
    if (before?.value.answer === undefined) {
      throw new CulvertError('conflict', 'the first request with this Idempotency-Key is under way', { retryAfterMs: AGAIN_MS });
    }
    request.audited.detail.replayed = true;
    const { status, sealed } = before.value.answer;
    const { type, body, object } = open(sealed, key);
    if (object !== undefined) request.audited.object = object;
    return reply
      .code(status)
      .header('idempotency-replayed', 'true')
      .type(type)
      .serializer((text: unknown) => String(text))
      .send(body);
  });

  // Before the audit entry: should that fail, the change has happened all the same.
  app.addHook('onSend', async (request, reply, payload) => {
    const claim = request.idempotent;
    if (claim === undefined || claim.answered) return;
    claim.answered = true;
    const { id, revision, key } = claim;
    const status = reply.statusCode;
    const again = status >= 500 || status === 429;
    const said = { type: String(reply.getHeader('content-type')), body: String(payload ?? ''), object: request.audited.object };
    const answer = { status, sealed: seal(said, key) };
    const value: RecordValue<'idempotency'> = { request: claim.request, answer, created_at: claim.createdAt };
    try {
      if (again || answer.sealed.length > MOST_SEALED) await records.delete('idempotency', id, revision);
      else await records.put('idempotency', id, value, { expected: revision, ttlMs: limits.IDEMPOTENCY_MS });
    } catch (err) {
      // What was asked for has happened: that is what is answered.
      log.warn({ event: 'idempotency.not_kept', err });
    }
  });
}

/** What the operator has shown; nobody else can make the same keys of it. */
function presented(request: FastifyRequest): string {
  return request.headers.authorization ?? loginCookieOf(request) ?? '';
}

function digest(...parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

interface Answer {
  type: string;
  body: string;
  /** What the audit entry says it was done to. */
  object?: string | undefined;
}

function seal(answer: Answer, key: Buffer): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  const text = Buffer.concat([cipher.update(JSON.stringify(answer), 'utf8'), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64');
}

function open(sealed: string, key: Buffer): Answer {
  const bytes = Buffer.from(sealed, 'base64');
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12));
  decipher.setAuthTag(bytes.subarray(12, 28));
  return JSON.parse(Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString()) as Answer;
}
