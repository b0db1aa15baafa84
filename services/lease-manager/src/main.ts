import { LeaseStore } from '@culvert/lease-store';
import { InstanceRegistration, runService, setting } from '@culvert/service-kit';
import { serveCommands } from './commands.ts';
import type { ManagerDeps } from './deps.ts';
import { KeptBucket } from './kept-bucket.ts';
import { KeptRecords } from './kept-records.ts';
import { KeptRegistry } from './kept-registry.ts';
import { createMetrics } from './metrics.ts';
import { lostRightsOf, PageCuts } from './page-cuts.ts';
import { Relay } from './relay.ts';
import { Sweeper } from './sweep.ts';
import { Tellers } from './tell.ts';

const SERVICE = 'lease-manager';
const VERSION = '0.1.0';

await runService({
  name: SERVICE,
  settings: {
    CULVERT_DOMAIN: { read: setting.domain(), fallback: 'culvert.localhost' },
    CULVERT_ACCESS: { read: setting.text(/^(?:public|private)$/, 'public or private'), fallback: 'public' },
  },
  check: (_values, limits) =>
    limits.PROBE_MS < limits.ACQUIRE_MS && limits.ACQUIRE_MS <= limits.TENURE_CONFIRM_MS
      ? []
      : [
          `CULVERT_LIMIT_ACQUIRE_MS is ${limits.ACQUIRE_MS}; expected more than CULVERT_LIMIT_PROBE_MS, ${limits.PROBE_MS}, ` +
            `and at most CULVERT_LIMIT_TENURE_CONFIRM_MS, ${limits.TENURE_CONFIRM_MS}`,
        ],
  async start({ id, config, limits, log, redis, bus, health, onStop }) {
    const store = new LeaseStore(redis, limits);
    const tellers = new Tellers(store, bus, log);
    onStop('tellers', () => tellers.stop());
    const metrics = createMetrics(health.registry, {
      outbox: () => store.outbox.length(),
      outboxOldestAt: () => store.outbox.oldestAt(),
      leases: () => store.counts(),
      telling: () => tellers.size,
    });
    const bucket = new KeptBucket(bus.nc);
    const kept = new KeptRegistry(bucket, store);
    const fallback = config.CULVERT_ACCESS === 'private' ? 'private' : 'public';
    const cuts = new PageCuts({ store, bus, limits, log, fallback });
    onStop('page cuts', () => cuts.stop());
    const records = new KeptRecords(bucket, store, log, ({ collection, id }) => {
      const lost = lostRightsOf(collection, id);
      if (lost !== undefined) void cuts.cut(lost.device, lost.port);
    });
    const domain = config.CULVERT_DOMAIN;
    const deps: ManagerDeps = { store, bucket, kept, records, bus, limits, log, metrics, tellers, cuts, domain };

    const sweeper = new Sweeper(deps);
    await sweeper.start();
    onStop('sweeper', () => sweeper.stop());

    const reader = redis.duplicate({ enableAutoPipelining: false });
    reader.on('error', () => {}); // the relay reports what its commands fail with
    await reader.connect();
    const relay = new Relay(deps, reader);
    relay.start();
    onStop('relay', () => relay.stop());

    await serveCommands(VERSION, deps);
    const registration = new InstanceRegistration(redis, limits, log, { id, service: SERVICE, address: '' });
    await registration.start();
    onStop('registration', () => registration.stop());
  },
});
