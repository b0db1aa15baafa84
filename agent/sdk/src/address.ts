import tls from 'node:tls';
import { type StopSignal, TlsSessions, type WebSocketTarget } from '@culvert/relay';
import type { Settings } from './options.ts';
import { proxyFor } from './proxy.ts';
import { openTunnel } from './tunnel.ts';

interface Trust {
  secureContext: tls.SecureContext;
  sessions: TlsSessions;
}

/**
 * What each settings object trusts, and the sessions of servers that had that trust. Made once: to parse all authorities anew took
 * most of the CPU of a dial.
 */
const trusted = new WeakMap<object, Trust>();

function trustOf(settings: Pick<Settings, 'ca' | 'limits'>): Trust {
  const known = trusted.get(settings);
  if (known !== undefined) return known;
  const { ca, limits } = settings;
  const secureContext = tls.createSecureContext(ca === undefined ? {} : { ca: [...tls.getCACertificates('default'), ca] });
  const made = { secureContext, sessions: new TlsSessions(limits.TLS_SESSION_MS) };
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
    ...(secure ? verified(host, settings) : {}),
    ...(proxy === undefined ? {} : { connect: (stop) => openTunnel(new URL(proxy), host, port, stop) }),
  };
}

function verified(
  host: string,
  settings: Pick<Settings, 'ca' | 'pins' | 'limits'>,
): Pick<WebSocketTarget, 'tls' | 'pins' | 'sessions'> {
  const { secureContext, sessions } = trustOf(settings);
  return { tls: { host, secureContext }, pins: settings.pins, sessions };
}
