import type { Bus, CommandReply, CommandRequest } from '@culvert/bus';
import { CulvertError, type Limits } from '@culvert/contracts';
import type { Canaries, CanaryAnswer } from './canaries.ts';
import type { Device } from './device.ts';
import type { PublicPorts } from './public-ports.ts';
import type { Rendezvous } from './rendezvous.ts';
import type { Tenures } from './tenures.ts';
import { requestTransfer } from './transfer-request.ts';

export interface TraceDeps {
  id: string;
  bus: Pick<Bus, 'requestOf'>;
  limits: Limits;
  rendezvous: Rendezvous;
  tenures: Tenures;
  ports: Pick<PublicPorts, 'isOpen'>;
  canaries: Pick<Canaries, 'send'>;
}

type Reply = Extract<CommandReply<'listener.trace'>, { ok: true }>;

/** What a canary's answer says of the way to the device; one that knows no canaries has at least answered. */
const CODE_OF: Readonly<Record<CanaryAnswer, string>> = {
  alive: 'ok',
  refused: 'ok',
  none: 'dial_timeout',
  away: 'device_offline',
};

/** Looks for operators how far a visitor would come: the same dial as a visitor's, whose transfer is closed as soon as it is there. */
export class Traces {
  readonly #deps: TraceDeps;
  #running = 0;

  constructor(deps: TraceDeps) {
    this.#deps = deps;
  }

  /** @throws CulvertError `busy` when TRACES of them dial already. */
  async run({ device: name, ports, within_ms }: CommandRequest<'listener.trace'>): Promise<Reply> {
    const { tenures, ports: bound, limits } = this.#deps;
    const device = tenures.device(name);
    const tenure = device?.tenure;
    if (device === undefined || tenure === undefined) return { ok: true, tenure: null, open: [], targets: [] };
    const { epoch, state } = tenure;
    const open = tenure.ports.map(({ port, scheme, public_port }) => ({ port, open: bound.isOpen(public_port, scheme) }));
    const found: Reply = { ok: true, tenure: { epoch, state }, open, targets: [] };
    if (ports.length === 0) return found;
    if (this.#running >= limits.TRACES) throw new CulvertError('busy', `${limits.TRACES} traces dial from here already`);
    this.#running += 1;
    try {
      const [dial, targets] = await Promise.all([
        timed(async () => CODE_OF[await this.#deps.canaries.send(device, tenure, within_ms)]),
        Promise.all(ports.map(async (port) => ({ port, ...(await timed(() => this.#dial(device, port, within_ms))) }))),
      ]);
      return { ...found, dial, targets };
    } finally {
      this.#running -= 1;
    }
  }

  async #dial(device: Device, port: number, ms: number): Promise<string> {
    const { id, bus, limits, rendezvous } = this.#deps;
    const wanted = { device, port, visitor: 'trace', until: performance.now() + ms };
    const never = new AbortController().signal; // it has a deadline of its own
    try {
      const transfer = await requestTransfer(wanted, never, { id, bus, limits, rendezvous, onUnanswered: () => {} });
      transfer.cut('bye');
      return 'ok';
    } catch (error) {
      return error instanceof CulvertError ? error.code : 'internal';
    }
  }
}

async function timed(act: () => Promise<string>): Promise<{ code: string; ms: number }> {
  const from = performance.now();
  const code = await act();
  return { code, ms: Math.round(performance.now() - from) };
}
