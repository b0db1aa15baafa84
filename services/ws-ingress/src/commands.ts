import type { Bus } from '@culvert/bus';
import { CulvertError, isErrorCode, type Limits } from '@culvert/contracts';
import type { Tracing } from '@culvert/service-kit';
import type { Connections } from './connections.ts';
import type { ControlConnection } from './control-connection.ts';
import type { IngressMetrics } from './metrics.ts';

/** How long a command waits for the handshake that it has overtaken; a probe of a tenure that is long gone must not take long. */
const OVERTAKEN_MS = 2_000;
const PROBE_OVERTAKEN_MS = 250;

/** Serves the commands that are addressed to this instance. Each names a tenure; any other than the live one is refused. */
export async function serveCommands(
  id: string,
  deps: {
    bus: Bus;
    connections: Connections;
    metrics: IngressMetrics;
    limits: Limits;
    tracing?: Tracing | undefined;
    fenced(): boolean;
  },
): Promise<void> {
  const { bus, connections, fenced, metrics } = deps;
  const holderOf = async (tenure: { device: string; epoch: number }, waitMs: number): Promise<ControlConnection> => {
    const connection = await connections.find(tenure.device, tenure.epoch, waitMs);
    if (connection === undefined) throw new CulvertError('lease_lost', `no control connection of epoch ${tenure.epoch} is here`);
    return connection;
  };
  await bus.serveInstance(id, {
    'ingress.dial': async (dial, { traceparent }) => {
      const startedAt = performance.now();
      const span = traceparent === undefined ? undefined : deps.tracing?.start('ingress dial', traceparent);
      try {
        if (fenced()) throw new CulvertError('unavailable', 'this instance is finding out what it holds');
        (await holderOf(dial, OVERTAKEN_MS)).dial({ ...dial, traceparent: span?.traceparent });
      } catch (error) {
        const outcome = error instanceof CulvertError ? error.code : 'internal';
        metrics.dials.inc({ outcome });
        span?.end(outcome, { 'culvert.device': dial.device });
        throw error;
      }
      metrics.dials.inc({ outcome: 'ok' });
      span?.end('ok', { 'culvert.device': dial.device });
      metrics.dialSeconds.observe((performance.now() - startedAt) / 1000);
      return { ok: true };
    },
    'ingress.probe': async ({ device, epoch }) => {
      const connection = await connections.find(device, epoch, Math.min(PROBE_OVERTAKEN_MS, deps.limits.PROBE_MS / 4));
      return { ok: true, alive: (await connection?.probe()) ?? false, here: connection !== undefined };
    },
    'ingress.missing': async ({ tenures }) => {
      const here = await Promise.all(tenures.map(({ device, epoch }) => connections.has(device, epoch, OVERTAKEN_MS)));
      return { ok: true, missing: tenures.filter((_, i) => here[i] !== true) };
    },
    'ingress.close': async ({ device, epoch, code, message }) => {
      if (!isErrorCode(code)) throw new CulvertError('bad_request', `code ${JSON.stringify(code)} is not in the error table`);
      const connection = await connections.find(device, epoch, PROBE_OVERTAKEN_MS);
      connection?.close(code, message, code === 'transfers_dead' ? code : undefined);
      return { ok: true, closed: connection !== undefined };
    },
    'ingress.endpoints': async ({ listener, endpoints, ...tenure }) => {
      (await holderOf(tenure, OVERTAKEN_MS)).moveTo(listener, endpoints);
      return { ok: true };
    },
  });
}
