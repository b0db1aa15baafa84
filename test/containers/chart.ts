import { join } from 'node:path';

export const CHART = join(import.meta.dirname, '../../deploy/kubernetes/culvert');
/** All that is optional is on, and the stores are elsewhere. */
export const EVERYTHING = [
  ...['edge.autoscaling.enabled=true', 'wsIngress.autoscaling.enabled=true', 'wsIngress.autoscaling.connections=15000'],
  ...[
    'leaseManager.autoscaling.enabled=true',
    'tcpListener.replicas=3',
    'tcpListener.service.addresses={192.0.2.1,192.0.2.2,192.0.2.3}',
    'tcpListener.transfers.enabled=true',
  ],
  ...['redis.enabled=false', 'redis.address=10.0.0.1:26379\\,10.0.0.2:26379/culvert', 'limits.DIAL_MS=5s', 'edge.hsts=180d'],
  ...['nats.enabled=false', 'nats.address=10.0.0.3:4222', 'podNetworks=10.244.0.0/16', 'otlpUrl=http://collector:4318'],
];
const ISSUED = ['certManager.enabled=true', 'certManager.issuer.name=dns'];
export const CERT_MANAGER = [
  'tcpListener.transfers.enabled=true',
  ...['edge.tls', 'tcpListener.transfers.tls'].flatMap((tls) => ISSUED.map((setting) => `${tls}.${setting}`)),
];
