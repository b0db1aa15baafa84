/**
 * Renders the edge's folder out of the environment, for a supervisor that starts nginx by itself. Exit codes: 0 written,
 * 2 settings are wrong (all faults are named).
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { CulvertError, formatDuration } from '@culvert/contracts';
import { prepareEdge } from '@culvert/edge';
import { ConfigError, faultsInProduction, loadConfig, readHost, setting } from '@culvert/service-kit';
import { TLS_SETTINGS, tlsOf } from './tls-settings.ts';

const SETTINGS = {
  CULVERT_EDGE_PREFIX: { read: setting.text(/^\//, 'an absolute path') },
  CULVERT_PORT: { read: setting.port(), fallback: 80 },
  CULVERT_HEALTH_HOST: { read: readHost, fallback: '127.0.0.1' },
  CULVERT_HEALTH_PORT: { read: setting.port(), fallback: 8081 },
  CULVERT_PUBLIC_PORT: { read: setting.integer(0, 65_535), fallback: 0 },
  CULVERT_DOMAIN: { read: setting.domain() },
  CULVERT_REDIS_URL: { read: setting.storeUrl(), secret: true },
  CULVERT_EDGE_SECRET: { read: setting.text(/^[\x21-\x7e]{16,256}$/, '16 to 256 visible characters'), secret: true },
  CULVERT_ACCESS: { read: setting.text(/^(?:public|private)$/, 'public or private'), fallback: 'public' },
  CULVERT_EDGE_TARGET: { read: setting.text(/^(?:debian|openresty)$/, 'debian or openresty'), fallback: 'debian' },
  CULVERT_OTLP_URL: { read: setting.url('http:'), fallback: '' },
  CULVERT_EDGE_WORKERS: { read: setting.integer(0, 256), fallback: 0 },
  ...TLS_SETTINGS,
};

/** Files that systemd hands over (LoadCredential=) stand for those that are not named. */
function credential(name: string): string {
  const folder = process.env.CREDENTIALS_DIRECTORY;
  const path = folder === undefined ? '' : join(folder, name);
  return existsSync(path) ? path : '';
}

try {
  const { values, limits } = loadConfig(SETTINGS, process.env, ({ CULVERT_TLS: mode }) => [
    ...(mode === 'local' ? ['CULVERT_TLS=local is for npm start, which makes the authority; expected off or files'] : []),
    ...faultsInProduction(SETTINGS, process.env),
  ]);
  const tls = tlsOf(values);
  const certificate = tls?.files?.certificate || credential('chain.pem');
  const key = tls?.files?.key || credential('key.pem');
  prepareEdge({
    prefix: values.CULVERT_EDGE_PREFIX,
    port: values.CULVERT_PORT,
    healthHost: values.CULVERT_HEALTH_HOST,
    healthPort: values.CULVERT_HEALTH_PORT,
    ...(values.CULVERT_OTLP_URL === '' ? {} : { otlpUrl: values.CULVERT_OTLP_URL }),
    ...(values.CULVERT_EDGE_WORKERS === 0 ? {} : { workers: values.CULVERT_EDGE_WORKERS }),
    domain: values.CULVERT_DOMAIN,
    redisUrl: values.CULVERT_REDIS_URL,
    edgeSecret: values.CULVERT_EDGE_SECRET,
    access: values.CULVERT_ACCESS === 'private' ? 'private' : 'public',
    target: values.CULVERT_EDGE_TARGET === 'openresty' ? 'openresty' : 'debian',
    limits,
    ...(tls === undefined
      ? {}
      : {
          tls: {
            port: tls.port,
            ...(values.CULVERT_PUBLIC_PORT === 0 ? {} : { publicPort: values.CULVERT_PUBLIC_PORT }),
            certificate,
            key,
            ticketKeys: tls.ticketKeys,
            plain: tls.plain,
            plainDevices: tls.plainDevices,
            hstsMs: tls.hstsMs,
          },
        }),
  });
  console.log(`rendered ${values.CULVERT_EDGE_PREFIX}; running requests get ${formatDuration(limits.WIND_DOWN_MS)} at SIGQUIT`);
} catch (error) {
  if (!(error instanceof ConfigError || error instanceof CulvertError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
