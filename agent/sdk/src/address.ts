import tls from 'node:tls';
import type { WebSocketTarget } from '@culvert/relay';
import type { Settings } from './options.ts';
import { proxyFor } from './proxy.ts';
import { openTunnel } from './tunnel.ts';

/** How to reach a path of the server: directly or through the proxy, over TLS with verified certificates or not. */
export function targetOf(
  settings: Pick<Settings, 'proxy' | 'ca' | 'pins' | 'limits'>,
  server: URL,
  path: string,
  token: string,
  signal: AbortSignal,
): WebSocketTarget {
  const secure = server.protocol === 'https:' || server.protocol === 'wss:';
  const host = server.hostname.replace(/^\[|\]$/g, '');
  const port = server.port === '' ? (secure ? 443 : 80) : Number(server.port);
  const proxy = proxyFor(server, settings.proxy);
  const { ca, pins } = settings;
  return {
    host,
    port,
    path,
    token,
    signal,
    deadlineMs: settings.limits.HANDSHAKE_MS,
    // `host` makes Node check the certificate against an address, too
    ...(secure ? { tls: { host, ...(ca === undefined ? {} : { ca: [...tls.getCACertificates('default'), ca] }) }, pins } : {}),
    ...(proxy === undefined ? {} : { connect: (stop) => openTunnel(new URL(proxy), host, port, stop) }),
  };
}
