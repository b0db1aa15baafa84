/** `npm run check`: types, lint and format, layers, known holes in dependencies. */
import { runChecks } from './checks.ts';

const { passed, failed } = runChecks();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
