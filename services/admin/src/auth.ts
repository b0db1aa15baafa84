import { createHash, timingSafeEqual } from 'node:crypto';
import { CulvertError } from '@culvert/contracts';
import type { FastifyRequest } from 'fastify';

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();

/**
 * Checks `Authorization: Bearer <token>` in a time that does not depend on how much of the token is right.
 * @throws CulvertError `unauthorized`
 */
export function bearerCheck(token: string): (request: FastifyRequest) => Promise<void> {
  const expected = digestOf(token);
  return async (request) => {
    const given = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (given === undefined) throw new CulvertError('unauthorized', 'expected Authorization: Bearer <admin token>');
    if (!timingSafeEqual(digestOf(given), expected)) throw new CulvertError('unauthorized', 'the admin token is wrong');
  };
}
