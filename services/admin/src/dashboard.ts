import { existsSync } from 'node:fs';
import { join } from 'node:path';
import files from '@fastify/static';
import type { FastifyPluginAsync, FastifyReply } from 'fastify';

/** Addresses that the pages of the dashboard have in the browser; all of them are one document. */
const PAGES = ['/', '/login', '/devices/:name', '/instances', '/events', '/audit', '/settings', '/settings/:section'];

/** Nothing is run, styled, framed or asked that does not come from this very server. */
const HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
};
const YEAR_MS = 365 * 86_400_000;

export interface DashboardOptions {
  folder: string;
  /** Somebody opens a page: they will ask for what it shows. */
  onPage?: () => void;
}

/** The dashboard, as `npm run build:dashboard` left it; before that, a page that says so. */
export const serveDashboard: FastifyPluginAsync<DashboardOptions> = async (app, { folder, onPage = () => {} }) => {
  app.addHook('onSend', async (_request, reply) => {
    reply.headers(HEADERS);
  });
  const isBuilt = (): boolean => existsSync(join(folder, 'index.html'));
  if (isBuilt()) {
    await app.register(files, {
      root: folder,
      serve: false,
      preCompressed: true,
    });
    // Their names change with their content.
    await app.register(files, {
      root: join(folder, 'assets'),
      prefix: '/assets/',
      decorateReply: false,
      preCompressed: true,
      immutable: true,
      maxAge: YEAR_MS,
      index: false,
    });
  }
  const send = (reply: FastifyReply): FastifyReply =>
    isBuilt() && reply.sendFile !== undefined
      ? reply.sendFile('index.html', { cacheControl: false }).header('cache-control', 'no-cache')
      : reply
          .code(503)
          .type('text/plain; charset=utf-8')
          .send(
            'The dashboard is not built: npm run build:dashboard, then start this service again. The API is described at /docs.\n',
          );
  for (const url of PAGES)
    app.get(url, { schema: { hide: true } }, (_request, reply) => {
      onPage();
      return send(reply);
    });
};
