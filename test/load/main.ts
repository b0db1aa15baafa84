/** `npm run load`: tens of thousands of real control connections and their visitors on one machine. See options.ts. */
import { wrong } from '../bench/command-line.ts';
import { enterNamespace } from '../bench/namespace.ts';
import { HELP, readOptions } from './options.ts';
import { save } from './report.ts';
import { Load } from './run.ts';
import { loadFigures, saveFigures } from './simulation/capacity.ts';
import { markdown } from './summary.ts';

if (process.argv.includes('--help')) {
  console.log(HELP);
  process.exit(0);
}
const { save: intoDocs, ...options } = chosen();
enterNamespace();
const run = await Load.run(options, (text) => console.log(text));
console.log(markdown(run));
console.log(await save(run, new URL('../../bench/', import.meta.url), intoDocs));
if (intoDocs) await saveFigures({ load: loadFigures(run) });

function chosen(): ReturnType<typeof readOptions> {
  try {
    return readOptions(process.argv.slice(2), process.env);
  } catch (error) {
    return wrong(`${(error as Error).message}\n${HELP}`);
  }
}
