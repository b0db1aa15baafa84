import { LeaseStore } from '@culvert/lease-store';
import { InstanceRegistration, listInstances, runService } from '@culvert/service-kit';
import { allocate, fill, lend } from './allocate.ts';
import { ExpiredLeases } from './expired.ts';
import { createMetrics } from './metrics.ts';
import { Ranges } from './ranges.ts';

const SERVICE = 'port-allocator';
const VERSION = '0.1.0';

await runService({
  name: SERVICE,
  settings: {},
  async start({ id, limits, log, redis, bus, health, onStop }) {
    const store = new LeaseStore(redis, limits);
    const listeners = () => listInstances(redis, 'tcp-listener');

    createMetrics(health.registry, { listeners, free: (listener) => store.ports.free(listener) });

    const ranges = new Ranges({ store, limits, log, listeners });
    await ranges.start();
    onStop('ranges', () => ranges.stop());

    const expired = new ExpiredLeases({ store, log, nc: bus.nc });
    expired.start();
    onStop('expired leases', () => expired.stop());

    await bus.serve(VERSION, {
      'port.allocate': (request) => allocate(request, { store, log, listeners }),
      'port.lend': (request) => lend(request, { store, listeners }),
      'port.fill': () => fill({ store, listeners }),
      'port.release': async ({ device, epoch, listener, ports }) => ({
        ok: true,
        released: await store.ports.release(device, epoch, listener, ports),
      }),
    });
    const registration = new InstanceRegistration(redis, limits, log, { id, service: SERVICE, address: '' });
    await registration.start();
    onStop('registration', () => registration.stop());
  },
});
