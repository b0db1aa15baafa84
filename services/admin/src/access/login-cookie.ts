import type { FastifyReply, FastifyRequest } from 'fastify';

const NAME = 'culvert_login';

/** The value of the login cookie; undefined when there is none. */
export function loginCookieOf(request: FastifyRequest): string | undefined {
  for (const part of (request.headers.cookie ?? '').split(';')) {
    const [name, value] = part.trim().split('=', 2);
    if (name === NAME && value !== undefined && value !== '') return value;
  }
  return undefined;
}

/** No script can read it, and no other site's page makes a browser send it. `maxAgeMs` 0 takes it away. */
export function setLoginCookie(reply: FastifyReply, value: string, maxAgeMs: number, secure: boolean): void {
  const parts = [`${NAME}=${value}`, 'HttpOnly', 'SameSite=Strict', 'Path=/', `Max-Age=${Math.floor(maxAgeMs / 1000)}`];
  if (secure) parts.push('Secure');
  reply.header('set-cookie', parts.join('; '));
}
