import type { Records } from '@culvert/bus';
import { CulvertError, ROOT_OPERATOR } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import Type from 'typebox';
import { problems } from '../problem.ts';
import { endPagesOfOperator } from './opened-pages.ts';
import { faultOfPassword } from './passwords.ts';
import type { Operator, Rights } from './rights.ts';

/** `/v1/login/password`: an operator's own password, for logins beside those by token. */
export const passwordRoutes: FastifyPluginAsyncTypebox<{ records: Records; rights: Rights }> = async (
  app,
  { records, rights },
) => {
  const own = async (request: FastifyRequest) => {
    const operator = request.operator as Operator;
    request.audited.object = operator.name;
    if (operator.name === ROOT_OPERATOR) {
      throw new CulvertError(
        'conflict',
        `${ROOT_OPERATOR} has no password: its token is a setting; add an operator for yourself`,
      );
    }
    const record = await records.get('operator', operator.name);
    if (record === null) throw new CulvertError('unauthorized', 'the operator is removed');
    return { operator, record };
  };

  /** A browser that was left alone must not be enough. */
  const prove = async (request: FastifyRequest, { name, via }: Operator, current: string | undefined): Promise<void> => {
    if (via !== 'login') return;
    try {
      await rights.ofPassword(request, name, current ?? '');
    } catch (error) {
      const wrong = error instanceof CulvertError && error.code === 'unauthorized';
      throw wrong ? new CulvertError('forbidden', 'the present password is missing or wrong') : error;
    }
  };

  app.put(
    '/v1/login/password',
    {
      config: { role: 'viewer', audit: 'operator.password' },
      schema: {
        summary: 'Set your own password',
        description:
          'With a login and a password already, `current` is wanted. Logins that were opened with the former one are over, but this.',
        body: Type.Object({
          password: Type.String({ maxLength: 1_024 }),
          current: Type.Optional(Type.String({ maxLength: 1_024 })),
        }),
        response: { 200: Type.Object({ name: Type.String(), changed_at: Type.Integer() }), ...problems(400, 409) },
      },
    },
    async (request) => {
      const { operator, record } = await own(request);
      const { password, current } = request.body;
      const fault = faultOfPassword(password);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      const former = record.value.password;
      if (former !== undefined) await prove(request, operator, current);
      const kept = await rights.passwords.keep(password);
      await records.put('operator', operator.name, { ...record.value, password: kept }, { expected: record.revision });
      if (former !== undefined) {
        await endPagesOfOperator(records, operator.name);
        if (operator.login !== '' && operator.tokenDigest === former.id) await goOn(operator.login, kept.id);
      }
      return { name: operator.name, changed_at: kept.changed_at };
    },
  );

  /** The login goes on under another password. */
  const goOn = async (login: string, id: string): Promise<void> => {
    const record = await records.get('login', login);
    if (record === null) return;
    const ttlMs = Math.max(1, (record.expires_at ?? Date.now()) - Date.now());
    await records.put('login', login, { ...record.value, token_digest: id }, { expected: record.revision, ttlMs });
  };

  app.delete(
    '/v1/login/password',
    {
      config: { role: 'viewer', audit: 'operator.password' },
      schema: {
        summary: 'Have no password any more; logins that were opened with it are over',
        response: { 200: Type.Object({ name: Type.String(), removed: Type.Boolean() }), ...problems(409) },
      },
    },
    async (request) => {
      const { operator, record } = await own(request);
      const { password, ...rest } = record.value;
      if (password === undefined) return { name: operator.name, removed: false };
      await records.put('operator', operator.name, rest, { expected: record.revision });
      await endPagesOfOperator(records, operator.name);
      return { name: operator.name, removed: true };
    },
  );
};
