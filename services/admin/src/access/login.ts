import type { Records } from '@culvert/bus';
import { CulvertError, ROLES } from '@culvert/contracts';
import { createLoginToken, digestOf } from '@culvert/service-kit';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import Type from 'typebox';
import { problems } from '../problem.ts';
import { loginCookieOf, setLoginCookie } from './login-cookie.ts';
import { endPagesOfLogin } from './opened-pages.ts';
import type { Operator, Rights } from './rights.ts';

export interface LoginOptions {
  records: Records;
  rights: Rights;
  /** How long a login lasts, in milliseconds. */
  loginMs: number;
}

interface Credentials {
  token?: string;
  name?: string;
  password?: string;
}

function whoLogsIn(request: FastifyRequest, rights: Rights, { token, name, password }: Credentials): Promise<Operator> {
  if (token !== undefined && name === undefined && password === undefined) return rights.ofToken(request, token);
  if (token === undefined && name !== undefined && password !== undefined) return rights.ofPassword(request, name, password);
  throw new CulvertError('bad_request', 'expected a token, or a name and a password');
}

const Who = Type.Object({ name: Type.String(), role: Type.Enum(ROLES) });

/** `/v1/login`: a browser exchanges an operator's token, or name and password, for a cookie, so that no script of a page ever holds the token. */
export const loginRoutes: FastifyPluginAsyncTypebox<LoginOptions> = async (app, { records, rights, loginMs }) => {
  app.post(
    '/v1/login',
    {
      config: { role: 'open', audit: 'login.add' },
      schema: {
        summary: 'Log in: a cookie for a token, or for a name and a password',
        description: 'Writes with the cookie need the header Culvert-Request: 1.',
        security: [],
        body: Type.Object({
          token: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })),
          name: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
          password: Type.Optional(Type.String({ minLength: 1, maxLength: 1_024 })),
        }),
        response: { 200: Who, ...problems(400) },
      },
    },
    async (request, reply) => {
      const operator = await whoLogsIn(request, rights, request.body);
      request.audited.detail.by = request.body.token === undefined ? 'password' : 'token';
      const { name, role, tokenDigest } = operator;
      request.operator = operator;
      request.audited.object = name;
      const token = createLoginToken();
      const login = { operator: name, token_digest: tokenDigest, created_at: Date.now() };
      await records.put('login', digestOf(token), login, { expected: 0, ttlMs: loginMs });
      setLoginCookie(reply, token, loginMs);
      return { name, role };
    },
  );

  app.get(
    '/v1/session',
    {
      config: { role: 'open' },
      schema: {
        summary: 'Is somebody logged in?',
        description: 'As GET /v1/login, but no login is no error: for a page that asks before it shows anything.',
        security: [],
        response: { 200: Type.Object({ operator: Type.Union([Who, Type.Null()]) }), ...problems() },
      },
    },
    async (request) => {
      const { authorization } = request.headers;
      if (authorization === undefined && loginCookieOf(request) === undefined) return { operator: null };
      try {
        const { name, role } = await rights.check(request, 'viewer');
        return { operator: { name, role } };
      } catch (error) {
        if (error instanceof CulvertError && error.code === 'unauthorized') return { operator: null };
        throw error;
      }
    },
  );

  app.get(
    '/v1/login',
    { config: { role: 'viewer' }, schema: { summary: 'Who am I?', response: { 200: Who, ...problems() } } },
    async (request) => ({ name: request.operator?.name ?? '', role: request.operator?.role ?? 'viewer' }),
  );

  app.delete(
    '/v1/login',
    {
      config: { role: 'viewer', audit: 'login.delete' },
      schema: { summary: 'Log out', response: { 200: Type.Object({ ended: Type.Boolean() }), ...problems() } },
    },
    async (request, reply) => {
      request.audited.object = request.operator?.name ?? '';
      const cookie = loginCookieOf(request);
      const login = cookie === undefined ? undefined : digestOf(cookie);
      const ended = login !== undefined && (await records.delete('login', login));
      if (ended) await endPagesOfLogin(records, login);
      setLoginCookie(reply, '', 0);
      return { ended };
    },
  );
};
