/**
 * `rights.ts [--check]`: writes the rights of all users of Redis and NATS, as deploy/local has them, into the chart; with `--check` it
 * only says whether they are the same (exit code 1: they are not).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PERMISSIONS } from '../local/src/nats.ts';
import { RULES } from '../local/src/redis.ts';

const FILES = { 'redis-rules.json': RULES, 'nats-permissions.json': PERMISSIONS };
for (const [name, rights] of Object.entries(FILES)) {
  const path = join(import.meta.dirname, 'culvert/files', name);
  const text = `${JSON.stringify(rights, null, 2)}\n`;
  if (!process.argv.includes('--check')) writeFileSync(path, text);
  else if (JSON.stringify(JSON.parse(readFileSync(path, 'utf8'))) !== JSON.stringify(rights)) {
    console.error(`${path} is old: run node deploy/kubernetes/rights.ts`);
    process.exitCode = 1;
  }
}
