#!/usr/bin/env node
// `node run.mjs <file.ts> [arguments]`: runs a TypeScript file of this repository under Node 24, under any Node from 18 on.
import { resolve } from 'node:path';
import { installPackages, repository } from './packages.mjs';
import { runEntry } from './run-entry.mjs';

const [entry, ...rest] = process.argv.slice(2);
if (entry === undefined) {
  console.error('expected a file to run, such as test/bin/test.ts');
  process.exit(2);
}
try {
  await installPackages();
  await runEntry(resolve(repository, entry), rest);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
