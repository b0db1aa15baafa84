import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { it } from 'vitest';

it('the chart gives the users of Redis and NATS the rights that the local stack gives them', () => {
  execFileSync(process.execPath, [join(import.meta.dirname, '../rights.ts'), '--check'], { timeout: 60_000 });
});
