import { join } from 'node:path';
import { Server as TlsServer } from 'node:tls';
import { Records } from '@culvert/bus';
import {
  edgeNetworks,
  faultsOfTlsFiles,
  InstanceRegistration,
  readHost,
  runService,
  ServedCertificate,
  setting,
  tlsFiles,
  watchCertificate,
} from '@culvert/service-kit';
import { Counter } from 'prom-client';
import { CertificateWatch } from './certificate-watch.ts';
import { buildServer } from './server.ts';
import { Visitors } from './visitors.ts';
import { DeadLetters } from './webhooks/dead-letters.ts';
import { WebhookOwners } from './webhooks/owners.ts';
import { createWebhookMetrics } from './webhooks/owners-deps.ts';

const SERVICE = 'admin';

await runService({
  name: SERVICE,
  settings: {
    CULVERT_ADMIN_TOKEN: {
      read: setting.text(/^\S{16,512}$/, 'a secret of 16 characters or more, without blanks'),
      secret: true,
    },
    CULVERT_LISTEN_HOST: { read: readHost, fallback: '127.0.0.1', internal: true },
    CULVERT_LISTEN_PORT: { read: setting.integer(0, 65_535), fallback: 0 },
    CULVERT_DOMAIN: { read: setting.domain(), fallback: 'culvert.localhost' },
    CULVERT_PUBLIC_HOST: { read: setting.text(), fallback: '' },
    CULVERT_PUBLIC_PORT: { read: setting.port(), fallback: 0 },
    CULVERT_PUBLIC_SCHEME: { read: setting.text(/^https?$/, 'http or https'), fallback: 'http' },
    CULVERT_EDGE_URL: {
      read: setting.text(/^(?:https?:\/\/[^/?#@\s]{1,200})?$/, 'a base URL such as https://10.0.0.7:8443'),
      fallback: '',
    },
    CULVERT_WEBHOOK_PRIVATE: { read: setting.flag(), fallback: false },
    CULVERT_ACCESS: { read: setting.text(/^(?:public|private)$/, 'public or private'), fallback: 'public' },
    CULVERT_EDGE_NETWORKS: edgeNetworks(),
    /** Where `npm run build:dashboard` has put it. */
    CULVERT_DASHBOARD_DIR: { read: setting.text(), fallback: join(import.meta.dirname, '../../../dashboard/dist') },
    ...tlsFiles(),
  },
  check: faultsOfTlsFiles,
  async start({ id, config, limits, log, redis, bus, health, onStop }) {
    const visitors = new Visitors({
      ...{ redis, bus, limits, log },
      dropped: new Counter({
        name: 'culvert_visitor_requests_dropped_total',
        help: 'Requests of visitors that the edges counted only, as there were too many for live views',
        registers: [health.registry],
      }),
    });
    await visitors.start();
    onStop('visitors', () => visitors.stop());
    const certificate = config.CULVERT_TLS_CERT_FILE === '' ? undefined : new ServedCertificate(config, log);
    if (certificate !== undefined) watchCertificate(health.registry, 'api', certificate);
    const app = await buildServer({
      visitors,
      redis,
      dashboard: config.CULVERT_DASHBOARD_DIR,
      bus,
      log,
      id,
      limits,
      registry: health.registry,
      token: config.CULVERT_ADMIN_TOKEN,
      edges: config.CULVERT_EDGE_NETWORKS,
      webhooksPrivate: config.CULVERT_WEBHOOK_PRIVATE,
      access: config.CULVERT_ACCESS === 'private' ? 'private' : 'public',
      domain: config.CULVERT_DOMAIN,
      ...(config.CULVERT_EDGE_URL === '' ? {} : { edge: new URL(config.CULVERT_EDGE_URL) }),
      ...(certificate === undefined ? {} : { tls: certificate.pair }),
      side: {
        scheme: config.CULVERT_PUBLIC_SCHEME === 'https' ? 'https' : 'http',
        port: config.CULVERT_PUBLIC_PORT,
        tcpHost: config.CULVERT_PUBLIC_HOST || config.CULVERT_DOMAIN,
      },
    });
    if (app.server instanceof TlsServer) certificate?.follow(app.server, limits.TLS_FILES_MS);
    const host = config.CULVERT_LISTEN_HOST;
    const address = new URL(await app.listen({ host, port: config.CULVERT_LISTEN_PORT })).host;
    log.info({ event: 'admin.listening', address });
    const registration = new InstanceRegistration(redis, limits, log, { id, service: SERVICE, address });
    await registration.start();
    const owners: WebhookOwners = new WebhookOwners({
      ...{ owner: registration.record.incarnation, nc: bus.nc, records: new Records(bus), limits, log },
      dead: new DeadLetters(bus.nc, limits),
      privateAllowed: config.CULVERT_WEBHOOK_PRIVATE,
      metrics: createWebhookMetrics(health.registry, () => owners.size),
    });
    owners.start();
    const certificates = new CertificateWatch({ records: new Records(bus), limits, log, registry: health.registry });
    certificates.start();
    onStop('certificates', () => certificates.stop());
    onStop('webhooks', () => owners.stop());
    onStop('api', async () => {
      certificate?.stop();
      await registration.stop();
      await app.close();
    });
  },
});
