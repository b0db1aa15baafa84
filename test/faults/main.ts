/**
 * `npm run test:faults`: every fault in real time with the limits as they are shipped, about 15 minutes; FAULT_MINUTES goes on
 * longer; at the end a storm of 5,000 devices. `short` runs the scaled-down version; a further argument is a pattern of the
 * faults to run. Ends with the table and the line `N passed, N failed`.
 */
import { REAL, SHORT } from './profile.ts';
import { isWell, type Row, runFaults, tableOf } from './run.ts';
import { runStorm } from './storm-run.ts';

const [first, second] = process.argv.slice(2);
const profile = first === 'short' ? SHORT : REAL;
const pattern = first === 'short' ? second : first;
const rows: Row[] = [];
let crashed = 0;
try {
  await runFaults(
    profile,
    Number(process.env.FAULT_MINUTES ?? 0),
    (row) => {
      rows.push(row);
      console.log(`${isWell(row) ? 'ok  ' : 'FAIL'} ${row.fault}`);
      for (const text of [...row.broken, ...row.eventFaults, ...row.leaks]) console.log(`     ${text}`);
    },
    pattern === undefined ? undefined : new RegExp(pattern),
  );
} catch (error) {
  crashed = 1;
  console.error(error);
}
const well = rows.filter(isWell).length;
let passed = well;
let failed = rows.length - well + crashed;
if (pattern === undefined || new RegExp(pattern).test('storm')) {
  const faults = await runStorm(profile.storm, console.log).catch((error: Error) => [error.message]);
  for (const fault of faults) console.log(`FAIL storm: ${fault}`);
  if (faults.length === 0) passed += 1;
  else failed += 1;
}
console.log(`\n${tableOf(rows)}\n`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
