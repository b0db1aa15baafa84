/**
 * `npm run test:faults`: every fault in real time with the limits as they are shipped, about a quarter of an hour; FAULT_MINUTES goes on
 * longer. At the end a storm of 5,000 devices (or FAULT_DEVICES), and the store emptied under them. What is not well is tried
 * once more: wrong twice, it has failed. `short` runs the scaled-down version; a further argument is a pattern of the faults
 * to run. Ends with the table and the line `N passed, N failed`.
 */
import { REAL, SHORT } from './profile.ts';
import { isWell, type Row, runFaults, tableOf, type Verdict } from './run.ts';
import { runStorm } from './storm-run.ts';

const [first, second] = process.argv.slice(2);
const profile = first === 'short' ? SHORT : REAL;
const pattern = first === 'short' ? second : first;
const STORM = 'storm';
const rows: Row[] = [];
const only = pattern === undefined ? undefined : new RegExp(pattern);
const verdicts: Verdict[] = await runFaults(
  profile,
  Number(process.env.FAULT_MINUTES ?? 0),
  (row) => {
    rows.push(row);
    console.log(`${isWell(row) ? 'ok  ' : 'FAIL'} ${row.fault}`);
    for (const text of [...row.broken, ...row.eventFaults, ...row.leaks]) console.log(`     ${text}`);
  },
  only,
);
if (only === undefined || only.test(STORM)) {
  const startedAt = performance.now();
  const outcome = (await storm()) ? 'ok' : (await storm()) ? 'flaky' : 'failed';
  verdicts.push({ fault: STORM, outcome, seconds: Math.round((performance.now() - startedAt) / 1000) });
}
const of = (outcome: Verdict['outcome']): string[] => verdicts.filter((one) => one.outcome === outcome).map(({ fault }) => fault);
console.log(`\n${tableOf(rows)}\n`);
console.log(`seconds: ${verdicts.map(({ fault, seconds }) => `${fault} ${seconds}`).join('; ')}`);
console.log(`flaky, well only the second time: ${of('flaky').length} ${of('flaky').join('; ')}`);
console.log(`failed twice: ${of('failed').length} ${of('failed').join('; ')}`);
console.log(`${verdicts.length - of('failed').length} passed, ${of('failed').length} failed`);
process.exit(of('failed').length === 0 ? 0 : 1);

async function storm(): Promise<boolean> {
  const faults = await runStorm(Number(process.env.FAULT_DEVICES ?? profile.storm), console.log).catch((error: Error) => [
    error.message,
  ]);
  for (const fault of faults) console.log(`FAIL ${STORM}: ${fault}`);
  return faults.length === 0;
}
