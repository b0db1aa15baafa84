import { HEARTBEAT_DEFAULT_MS, HEARTBEAT_MAX_MS, HEARTBEAT_MIN_MS } from '@culvert/contracts';
import { edgeNetworks, faultsOfTlsFiles, readHost, setting, tlsFiles } from '@culvert/service-kit';

export const SETTINGS = {
  CULVERT_LISTEN_HOST: { read: readHost, fallback: '127.0.0.1', internal: true },
  CULVERT_LISTEN_PORT: { read: setting.integer(0, 65_535), fallback: 0 },
  CULVERT_TCP_PORTS: { read: setting.portRange(), fallback: [20_000, 20_999] as const },
  CULVERT_TCP_HOST: { read: readHost, fallback: '::' },
  CULVERT_HTTP_HOST: { read: readHost, fallback: '127.0.0.1', internal: true },
  CULVERT_EDGE_NETWORKS: edgeNetworks(),
  CULVERT_HEARTBEAT: { read: setting.duration(HEARTBEAT_MIN_MS, HEARTBEAT_MAX_MS), fallback: HEARTBEAT_DEFAULT_MS },
  /** What devices are told to dial past the edge. */
  CULVERT_TRANSFER_URL: {
    read: setting.text(/^wss?:\/\/[^/?#@\s]{1,200}$/, 'a base URL such as wss://transfers.example.com, without a path'),
    fallback: '',
  },
  CULVERT_TRANSFER_HOST: { read: readHost, fallback: '::' },
  /** Where they arrive; 0: nowhere but at the internal address. */
  CULVERT_TRANSFER_PORT: { read: setting.integer(0, 65_535), fallback: 0 },
  ...tlsFiles(),
  CULVERT_EDGE_SECRET: {
    read: setting.text(/^[\x21-\x7e]{1,256}$/, '1 to 256 visible characters'),
    fallback: '',
    secret: true,
  },
} as const;

interface Publishing {
  CULVERT_LISTEN_PORT: number;
  CULVERT_TCP_PORTS: readonly [number, number];
  CULVERT_TRANSFER_URL: string;
  CULVERT_TRANSFER_PORT: number;
  CULVERT_TLS_CERT_FILE: string;
  CULVERT_TLS_KEY_FILE: string;
}

/** What does not go together, each with what would be right. */
export function faultsOfSettings(config: Publishing): string[] {
  const { CULVERT_TRANSFER_URL: url, CULVERT_TRANSFER_PORT: port, CULVERT_TCP_PORTS: ports } = config;
  const faults = faultsOfTlsFiles(config);
  for (const name of ['CULVERT_LISTEN_PORT', 'CULVERT_TRANSFER_PORT'] as const) {
    if (config[name] >= ports[0] && config[name] <= ports[1]) {
      const range = `CULVERT_TCP_PORTS=${ports.join('-')}`;
      faults.push(`${name}=${config[name]} lies within ${range}; expected a port outside of it`);
    }
  }
  if (port !== 0 && url === '') {
    faults.push(`CULVERT_TRANSFER_PORT=${port} is of no use, as no device is told of it; expected CULVERT_TRANSFER_URL as well`);
  }
  if (config.CULVERT_TLS_CERT_FILE === '') return faults;
  if (port === 0) faults.push('CULVERT_TLS_CERT_FILE is for CULVERT_TRANSFER_PORT, which is 0; expected both or none');
  else if (url.startsWith('ws:')) {
    faults.push(`CULVERT_TRANSFER_URL=${url} sends devices without TLS to a port that speaks TLS; expected wss://`);
  }
  return faults;
}
