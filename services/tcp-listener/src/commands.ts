import type { Bus, CulvertEvent } from '@culvert/bus';
import { CulvertError, isErrorCode } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import type { OperatorVisits } from './operator-visits.ts';
import type { Rendezvous } from './rendezvous.ts';
import type { Tenures } from './tenures.ts';
import type { Traces } from './trace.ts';

/** Serves the commands that are addressed to this listener. */
export async function serveCommands(
  id: string,
  deps: {
    bus: Bus;
    tenures: Tenures;
    rendezvous: Rendezvous;
    operators: OperatorVisits;
    traces: Traces;
    /** Public base URL of the transfer server; empty when devices reach it through the edge only. */
    transferUrl: string;
  },
): Promise<void> {
  const { bus, operators, rendezvous, tenures, traces, transferUrl: url } = deps;
  await bus.serveInstance(id, {
    'listener.bind': async (tenure) => {
      const reply = await tenures.bind(tenure);
      const key = reply.ok && url !== '' ? tenures.keyOf(tenure.device, tenure.epoch) : undefined;
      return key === undefined ? reply : { ok: true, direct: { url, key } };
    },
    'listener.unbind': async ({ device, epoch }) => {
      await tenures.unbind(device, epoch);
      return { ok: true };
    },
    'listener.cut': ({ device, epoch, code, only }) => {
      if (!isErrorCode(code)) throw new CulvertError('bad_request', `code ${JSON.stringify(code)} is not in the error table`);
      const found = tenures.device(device);
      if (found === undefined) return { ok: true, cut: 0 };
      return { ok: true, cut: only === undefined ? found.cut(epoch, code) : found.cutEndpoints(epoch, code, only) };
    },
    'listener.refused': ({ device, id: dial, code }) => {
      rendezvous.refuse(device, dial, code); // nobody awaits it any more: too late, and no fault of anybody
      return { ok: true };
    },
    'listener.admit': (wanted) => ({ ok: true, ...operators.admit(wanted) }),
    'listener.trace': (wanted) => traces.run(wanted),
  });
}

/** Unbinds what has expired even when the command to do so was lost. Whatever is missed here, the next reconciliation finds. */
export function followExpiries(id: string, deps: { bus: Bus; tenures: Tenures; log: Logger }): void {
  deps.bus.nc.subscribe('lease.expired.*', {
    callback: (error, message) => {
      if (error !== null) return;
      try {
        const { subject, data } = message.json<CulvertEvent<'lease.expired'>>();
        if (data.listener !== id) return;
        deps.tenures.unbind(subject, data.epoch).catch(() => {}); // a newer tenure is bound: the expiry is old news
      } catch (err) {
        deps.log.warn({ event: 'expiry.unreadable', err: (err as Error).message });
      }
    },
  });
}
