/**
 * `npm run load:simulate`: leases, events and sweeps of a fleet of a million against the real scripts, without a device.
 *   --leases 10000,100000,1000000   sizes, one after the other      --probes 5000   new devices that come and go at each
 *   --save   write the figures into docs/CAPACITY.md, too
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { putInto } from '../report.ts';
import { PAGE, saveFigures, simulationFigures } from './capacity.ts';
import { markdown } from './page.ts';
import { simulate } from './simulation.ts';

const { values } = parseArgs({
  options: {
    leases: { type: 'string', default: '10000,100000,1000000' },
    probes: { type: 'string', default: '5000' },
    save: { type: 'boolean', default: false },
  },
});
const run = await simulate(values.leases.split(',').map(Number), Number(values.probes), (text) => console.log(text));
console.log(markdown(run));
const dir = new URL('../../../bench/', import.meta.url);
await mkdir(dir, { recursive: true });
await writeFile(new URL('simulation.json', dir), `${JSON.stringify(run, null, 1)}\n`);
if (values.save) {
  await putInto(PAGE, 'simulation', markdown(run));
  await saveFigures({ simulation: simulationFigures(run) });
}
