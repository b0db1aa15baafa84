import tls from 'node:tls';
import type { StopSignal, WebSocketTarget } from '@culvert/relay';
import type { Settings } from './options.ts';
import { proxyFor } from './proxy.ts';
import { openTunnel } from './tunnel.ts';

/** What each settings object trusts. Made once: to parse all authorities anew took most of the CPU of a dial. */
const trusted = new WeakMap<object, tls.SecureContext>();

function trustOf(settings: { ca: string | undefined }): tls.SecureContext {
  const known = trusted.get(settings);
  if (known !== undefined) return known;
  const { ca } = settings;
  const made = tls.createSecureContext(ca === undefined ? {} : { ca: [...tls.getCACertificates('default'), ca] });
  trusted.set(settings, made);
  return made;
}

/** How to reach a path of the server: directly or through the proxy, over TLS with verified certificates or not. */
export function targetOf(
  settings: Pick<Settings, 'proxy' | 'ca' | 'pins' | 'limits'>,
  server: URL,
  path: string,
  token: string,
  signal: StopSignal,
): WebSocketTarget {
  const secure = server.protocol === 'https:' || server.protocol === 'wss:';
  const host = server.hostname.replace(/^\[|\]$/g, '');
  const port = server.port === '' ? (secure ? 443 : 80) : Number(server.port);
  const proxy = proxyFor(server, settings.proxy);
  return {
    host,
    port,
    path,
    token,
    signal,
    deadlineMs: settings.limits.HANDSHAKE_MS,
    // `host` makes Node check the certificate against an address, too
    ...(secure ? { tls: { host, secureContext: trustOf(settings) }, pins: settings.pins } : {}),
    ...(proxy === undefined ? {} : { connect: (stop) => openTunnel(new URL(proxy), host, port, stop) }),
  };
}
