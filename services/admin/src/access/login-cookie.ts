import type { FastifyReply, FastifyRequest } from 'fastify';

declare module 'fastify' {
  interface FastifyInstance {
    /** Browsers come by https only. */
    secureCookies: boolean;
  }
}

/** With the prefix browsers take it by TLS from this very host only: no page of a device under the same domain can set another. */
const nameWhere = (secure: boolean): string => (secure ? '__Host-culvert_login' : 'culvert_login');

/** The value of the login cookie; undefined when there is none. */
export function loginCookieOf(request: FastifyRequest): string | undefined {
  const wanted = nameWhere(request.server.secureCookies);
  for (const part of (request.headers.cookie ?? '').split(';')) {
    const [name, value] = part.trim().split('=', 2);
    if (name === wanted && value !== undefined && value !== '') return value;
  }
  return undefined;
}

/** No script can read it, and no other site's page makes a browser send it. `maxAgeMs` 0 takes it away. */
export function setLoginCookie(reply: FastifyReply, value: string, maxAgeMs: number): void {
  const secure = reply.server.secureCookies;
  const parts = [
    `${nameWhere(secure)}=${value}`,
    'HttpOnly',
    'SameSite=Strict',
    'Path=/',
    `Max-Age=${Math.floor(maxAgeMs / 1000)}`,
  ];
  if (secure) parts.push('Secure');
  reply.header('set-cookie', parts.join('; '));
}
