#!/usr/bin/env node
// `npm start`: runs under any Node from 18 on, with nothing installed yet.
import { join } from 'node:path';
import { installPackages, repository } from './packages.mjs';
import { runEntry, runToEnd } from './run-entry.mjs';
import { installSystemPackages } from './system.mjs';

try {
  await installPackages();
  await installSystemPackages(['redis-server', 'nats-server', 'nginx', ...(process.env.CULVERT_TLS === 'local' ? ['tls'] : [])]);
  // Nothing to do unless its sources have changed. Everything else runs without it, too.
  await runToEnd(join(repository, 'dashboard/build.ts')).catch((error) => console.error(`no dashboard: ${error.message}`));
  await runEntry(join(repository, 'deploy/local/src/main.ts'), process.argv.slice(2));
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
