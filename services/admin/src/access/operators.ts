import type { KeptRecord, Records } from '@culvert/bus';
import { CulvertError, faultOfDeviceName, type Limits, ROLES, ROOT_OPERATOR } from '@culvert/contracts';
import { createOperatorToken, digestOf } from '@culvert/service-kit';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { problems } from '../problem.ts';
import { endPagesOfOperator } from './opened-pages.ts';

export interface OperatorRoutesOptions {
  records: Records;
  limits: Pick<Limits, 'OPERATORS'>;
}

const RoleName = Type.Enum(ROLES, {
  description: 'viewer: sees everything; operator: changes devices; admin: changes operators, too',
});
const OperatorView = Type.Object(
  {
    name: Type.String(),
    role: RoleName,
    password: Type.Boolean({ description: 'They have set one' }),
    created_at: Type.Integer(),
    created_by: Type.String(),
  },
  { $id: 'Operator' },
);
const Issued = Type.Object({
  name: Type.String(),
  role: RoleName,
  token: Type.String({ description: 'Shown this once: only its digest is stored' }),
});
const Params = Type.Object({ name: Type.String({ maxLength: 256 }) });

const viewOf = ({ id, value: { role, password, created_at, created_by } }: KeptRecord<'operator'>) => ({
  ...{ name: id, role, password: password !== undefined, created_at, created_by },
});

/** `/v1/operators`: who may use this API. The operator `root`, whose token is a setting, is not among them. */
export const operatorRoutes: FastifyPluginAsyncTypebox<OperatorRoutesOptions> = async (app, { records, limits }) => {
  const find = async (name: string): Promise<KeptRecord<'operator'>> => {
    const record = faultOfDeviceName(name) === undefined ? await records.get('operator', name) : null;
    if (record === null) throw new CulvertError('not_found', `there is no operator named ${name}`);
    return record;
  };

  app.get(
    '/v1/operators',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'List operators',
        response: { 200: Type.Object({ operators: Type.Array(OperatorView) }), ...problems() },
      },
    },
    async () => {
      const operators: ReturnType<typeof viewOf>[] = [];
      for await (const record of records.all('operator')) operators.push(viewOf(record));
      return { operators };
    },
  );

  app.post(
    '/v1/operators',
    {
      config: { role: 'admin', audit: 'operator.add' },
      schema: {
        summary: 'Add an operator and issue their token',
        body: Type.Object({ name: Type.String({ maxLength: 1024 }), role: RoleName }),
        response: { 201: Issued, ...problems(400, 409) },
      },
    },
    async (request, reply) => {
      const { name, role } = request.body;
      request.audited.object = name;
      request.audited.detail.role = role;
      const fault = faultOfDeviceName(name);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      if (name === ROOT_OPERATOR)
        throw new CulvertError('already_exists', `${ROOT_OPERATOR} is the operator of CULVERT_ADMIN_TOKEN`);
      let count = 0;
      for await (const _ of records.all('operator')) count += 1;
      if (count >= limits.OPERATORS) throw new CulvertError('conflict', `there are ${count} operators, and no more are allowed`);
      const token = createOperatorToken(name);
      const now = Date.now();
      const tokens = [{ digest: digestOf(token), created_at: now }];
      const created_by = request.operator?.name ?? '';
      await records.put('operator', name, { role, tokens, created_at: now, created_by }, { expected: 0 });
      return reply.code(201).send({ name, role, token });
    },
  );

  app.post(
    '/v1/operators/:name/token',
    {
      config: { role: 'admin', audit: 'operator.rotate' },
      schema: {
        summary:
          'Issue a new token to an operator; the former ones, their password, logins opened with either, and pages opened by those, are over',
        params: Params,
        response: { 201: Issued, ...problems(404, 409) },
      },
    },
    async (request, reply) => {
      const { id: name, value, revision } = await find(request.params.name);
      const token = createOperatorToken(name);
      const tokens = [{ digest: digestOf(token), created_at: Date.now() }];
      // Whoever had the token may have set the password.
      const { password: _, ...rest } = value;
      await records.put('operator', name, { ...rest, tokens }, { expected: revision });
      await endPagesOfOperator(records, name);
      return reply.code(201).send({ name, role: value.role, token });
    },
  );

  app.delete(
    '/v1/operators/:name',
    {
      config: { role: 'admin', audit: 'operator.delete' },
      schema: {
        summary:
          'Remove an operator: their tokens, logins, running uses of this API and pages that they opened for themselves are over',
        params: Params,
        response: { 200: Type.Object({ name: Type.String(), removed: Type.Literal(true) }), ...problems(404) },
      },
    },
    async (request) => {
      const { id: name } = await find(request.params.name);
      await records.delete('operator', name);
      await endPagesOfOperator(records, name);
      return { name, removed: true as const };
    },
  );
};
