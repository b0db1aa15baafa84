import { parseArgs } from 'node:util';

/** What a load does. Times in seconds. */
export interface LoadOptions {
  devices: number;
  /** Where control connections go: past the edge, whose workers may hold 20,000 files each, or by it. */
  by: 'ingress' | 'edge';
  /** Processes of devices, and handshakes at once in all of them. */
  crowds: number;
  width: number;
  /** Visitors a second, half http, half tcp. */
  rate: number;
  emptyS: number;
  idleS: number;
  visitorsS: number;
  connectS: number;
  heartbeatS: number;
  /** All links are cut at the end, and come back. */
  storm: boolean;
  /** Settings of the stack. */
  env: Record<string, string>;
}

/** Most devices of one process here, and public ports of one listener: descriptors enough remain for the rest of 20,000. */
const DEVICES_EACH = 9_500;
const PORTS_EACH = 15_000;
const FIRST_PORT = 1_100;

export const HELP = `npm run load -- [--devices 20000] [--minutes 3] [--rate 50] [--by ingress|edge] [--no-storm] [--save]
  --devices N    simulated devices, half with an http endpoint, half with a tcp one (default 20000)
  --minutes N    two thirds of it without visitors, before and after, one third with them (default 3)
  --rate N       visitors a second, half by the edge, half by public ports (default 50)
  --by WAY       control connections straight to ws-ingress (default), or by the edge
  --no-storm     leave out cutting all links at once
  --save         write the figures into docs/CAPACITY.md, too
CULVERT_REPLICAS and every other setting of the stack hold; default: as many ws-ingress and tcp-listener as descriptors ask for.`;

export function readOptions(args: readonly string[], env: NodeJS.ProcessEnv): LoadOptions & { save: boolean } {
  const { values } = parseArgs({
    args: [...args],
    options: {
      devices: { type: 'string', default: '20000' },
      minutes: { type: 'string', default: '3' },
      rate: { type: 'string', default: '50' },
      by: { type: 'string', default: 'ingress' },
      'no-storm': { type: 'boolean', default: false },
      save: { type: 'boolean', default: false },
    },
  });
  const number = (name: 'devices' | 'minutes' | 'rate', least: number, most: number): number => {
    const value = Number(values[name]);
    if (!(value >= least && value <= most)) throw new Error(`--${name} ${values[name]}; expected ${least} to ${most}`);
    return value;
  };
  const devices = Math.floor(number('devices', 2, 36_000));
  const third = Math.max(2, (number('minutes', 0.1, 60) * 60) / 3);
  if (values.by !== 'ingress' && values.by !== 'edge') throw new Error(`--by ${values.by}; expected ingress or edge`);
  const ingresses = Math.ceil(devices / DEVICES_EACH);
  const listeners = Math.ceil(devices / PORTS_EACH);
  const settings = Object.entries(env).filter(([name]) => name.startsWith('CULVERT_') && !name.startsWith('CULVERT_BENCH_'));
  return {
    devices,
    by: values.by,
    crowds: ingresses,
    width: 64,
    rate: number('rate', 0, 10_000),
    ...{ emptyS: Math.min(10, third), idleS: third, visitorsS: third, connectS: 900, heartbeatS: 30 },
    storm: !values['no-storm'],
    env: {
      CULVERT_REPLICAS: `ws-ingress=${ingresses},tcp-listener=${listeners}`,
      CULVERT_PORT: String(FIRST_PORT - 1),
      CULVERT_TCP_PORTS: `${FIRST_PORT}-${FIRST_PORT + devices + 200 * listeners}`,
      ...Object.fromEntries(settings.map(([name, value]) => [name, value ?? ''])),
    },
    save: values.save,
  };
}
