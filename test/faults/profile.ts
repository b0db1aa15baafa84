/** How hard a run is. Times in milliseconds. */
export interface Profile {
  name: 'short' | 'real';
  env: Record<string, string>;
  /** How long SIGSTOP lasts: longer than INSTANCE_TTL_MS, so that the paused one is taken for gone. */
  pauseMs: number;
  /** How long a store is away. */
  awayMs: number;
  windDownMs: number;
  /** After a fault everything must be as before within this time. */
  recoverMs: number;
  agents: number;
  /** Devices of the storm. */
  storm: number;
}

const REPLICAS = 'ws-ingress=2,tcp-listener=2,lease-manager=2,port-allocator=2';

export const SHORT: Profile = {
  name: 'short',
  env: {
    CULVERT_REPLICAS: REPLICAS,
    CULVERT_HEARTBEAT: '2s',
    CULVERT_LIMIT_INSTANCE_RENEW_MS: '500',
    CULVERT_LIMIT_INSTANCE_TTL_MS: '2500',
    CULVERT_LIMIT_LISTENER_GONE_MS: '20000',
    CULVERT_LIMIT_WIND_DOWN_MS: '5000',
  },
  pauseMs: 4_000,
  awayMs: 3_000,
  windDownMs: 5_000,
  recoverMs: 30_000,
  agents: 2,
  storm: 1_000,
};

/** The limits as they are shipped, but that a wind-down waits a third of its time for connections that never end. */
export const REAL: Profile = {
  name: 'real',
  env: { CULVERT_REPLICAS: REPLICAS, CULVERT_HEARTBEAT: '10s', CULVERT_LIMIT_WIND_DOWN_MS: '20000' },
  pauseMs: 30_000,
  awayMs: 30_000,
  windDownMs: 20_000,
  recoverMs: 90_000,
  agents: 4,
  storm: 5_000,
};
