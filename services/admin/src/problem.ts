import { CulvertError, ERRORS, type ErrorCode } from '@culvert/contracts';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';

/** An error as RFC 9457 has it; `code` is one of contracts ERRORS. */
export const Problem = Type.Object(
  {
    type: Type.String({ description: 'Always about:blank: the code says what it is' }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String(),
    detail: Type.String(),
  },
  { $id: 'Problem', description: 'RFC 9457 problem document' },
);

/** The answers that are no success, for a route's schema; those that every route may give are added. */
export const problems = (...statuses: number[]) =>
  Object.fromEntries([401, 403, 503, ...statuses].map((status) => [status, Problem]));

/** Answers with a problem document; `status` in place of the code's own. */
export function sendProblem(
  reply: FastifyReply,
  code: ErrorCode,
  detail: string,
  { retryAfterMs, status = ERRORS[code].http ?? 409 }: { retryAfterMs?: number | undefined; status?: number } = {},
): FastifyReply {
  if (reply.request.audited !== undefined) reply.request.audited.outcome ??= code;
  const { meaning } = ERRORS[code]; // codes without a status say that the device's state forbids it: 409
  const wait = retryAfterMs ?? (status === 503 ? 1_000 : undefined);
  if (wait !== undefined) reply.header('retry-after', Math.max(1, Math.ceil(wait / 1000)));
  return reply
    .code(status)
    .type('application/problem+json')
    .serializer((body: unknown) => JSON.stringify(body))
    .send({ type: 'about:blank', title: meaning, status, code, detail });
}

/** Turns whatever was thrown into a problem document. Text of unknown errors stays in our log. */
export function onError(error: FastifyError | CulvertError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error instanceof CulvertError && error.code !== 'internal') {
    return sendProblem(reply, error.code, error.message, { retryAfterMs: error.retryAfterMs });
  }
  const status = error instanceof CulvertError ? 500 : (error.statusCode ?? 500);
  if (status === 413) return sendProblem(reply, 'too_large', error.message);
  if (status >= 400 && status < 500) return sendProblem(reply, 'bad_request', error.message, { status });
  request.log.error({ event: 'request.failed', err: error });
  return sendProblem(reply, 'internal', 'internal error');
}
