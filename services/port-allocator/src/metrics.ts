import type { InstanceRecord } from '@culvert/service-kit';
import { Gauge, type Registry } from 'prom-client';

export interface AllocatorGauges {
  listeners(): Promise<InstanceRecord[]>;
  free(listener: string): Promise<number>;
}

/** Ports of each live listener: how many it has, and how many may be given out now (neither held nor cooling down). */
export function createMetrics(registry: Registry, { listeners, free }: AllocatorGauges): void {
  const registers = [registry];
  const labelNames = ['listener'] as const;
  const configured = new Gauge({
    name: 'culvert_ports_configured',
    help: 'Public ports in the range of a live listener',
    labelNames,
    registers,
  });
  new Gauge({
    name: 'culvert_ports_free',
    help: 'Public ports of a live listener that may be given out now',
    labelNames,
    registers,
    async collect() {
      const live = await listeners().catch(() => []);
      const counts = await Promise.all(live.map(({ id }) => free(id).catch(() => Number.NaN)));
      this.reset();
      configured.reset();
      for (const [i, { id: listener, ports }] of live.entries()) {
        if (ports === undefined) continue;
        this.set({ listener }, counts[i] ?? Number.NaN);
        configured.set({ listener }, ports[1] - ports[0] + 1);
      }
    },
  });
}
