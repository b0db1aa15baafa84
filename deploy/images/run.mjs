// What a service's image runs: `run.mjs NAME`. An instance that has no id of its own takes the container's name for one.
import { hostname } from 'node:os';
import process from 'node:process';

const name = process.argv[2] ?? '';
process.env.CULVERT_INSTANCE_ID ||= `${name}-${hostname()
  .toLowerCase()
  .replaceAll(/[^a-z0-9]+/g, '-')}`.slice(0, 63);
takeShare();
await import(`../../services/${name}/src/main.ts`);

/** One of a set of listeners (its id ends with its number, from 0) takes its share of CULVERT_TCP_PORTS: CULVERT_TCP_PORTS_EACH of them. */
function takeShare() {
  const each = Number(process.env.CULVERT_TCP_PORTS_EACH ?? 0);
  const number = /-([0-9]+)$/.exec(process.env.CULVERT_INSTANCE_ID ?? '')?.[1];
  const [first = 0, last = 0] = (process.env.CULVERT_TCP_PORTS ?? '').split('-').map(Number);
  if (each === 0 || number === undefined) return;
  const start = first + Number(number) * each;
  // What does not fit is refused by the service, like any wrong setting.
  process.env.CULVERT_TCP_PORTS = start + each - 1 <= last ? `${start}-${start + each - 1}` : `no share of number ${number}`;
}
