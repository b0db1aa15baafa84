import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));

it('npm run bench -- --quick measures the real stack, and every byte of every transfer arrives', async () => {
  const args = [MAIN, '--quick', '--only', 'culvert,direct,c read'];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 240_000 });
  const [head = '', , ...rows] = stdout.split('\n').filter((line) => line.startsWith('|'));
  expect(head).toContain('Culvert');
  for (const row of ['1 D: MB/s', '8 U: MB/s', '8 D: CPU-s/GB, listener', 'new visitors a second', 'HTTP requests a second']) {
    const found = rows.find((line) => line.includes(row)) ?? `no row ${row}`;
    expect(found).toMatch(/\| [0-9.,]+ \|/);
  }
}, 250_000);
