import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));

it('npm run bench -- --quick measures the real stack, and every byte of every transfer arrives', async () => {
  const args = [MAIN, '--quick', '--only', 'culvert,direct,masked'];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 240_000 });
  const [head = '', , ...rows] = stdout.split('\n').filter((line) => line.startsWith('|'));
  expect(head).toContain('Culvert');
  for (const row of ['1 D: MB/s', '8 U: MB/s', '8 D: CPU-s/GB, listener', 'new visitors a second', 'HTTP requests a second']) {
    const found = rows.find((line) => line.includes(row)) ?? `no row ${row}`;
    expect(found).toMatch(/\| [0-9.,]+ \|/);
  }
}, 250_000);

it('npm run bench -- --stacks 2 --against measures two of each, and says the ratios to one of them', async () => {
  const only = ['--only', 'ws streams,direct', '--figures', 'small', '--stacks', '2', '--against', 'ws streams'];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [MAIN, '--quick', ...only], { timeout: 120_000 });
  expect(stderr.match(/^starting .*$/gm)).toHaveLength(4);
  expect(stdout).toContain('medians of 1 interleaved rounds of 2 stacks each');
  const row = stdout.split('\n').filter((line) => line.startsWith('| 200 B round trip, alone: p50 us |'));
  expect(row).toHaveLength(2);
  expect(row[1]).toMatch(/\| [0-9.]+ \([0-9.]+ to [0-9.]+\) \| 1\.00 \(1\.00 to 1\.00\) \|$/);
}, 130_000);

it.each([
  [
    'main.ts',
    ['--nonsense'],
    "Unknown option '--nonsense'; expected --quick, --only, --rounds, --figures, --minutes, --stacks, --against",
  ],
  ['main.ts', ['--only', 'a horse'], '--only a horse; expected names of Culvert; Culvert, direct transfers; '],
  ['main.ts', ['--figures', 'bulk,speed'], '--figures speed; expected some of bulk, small, fresh, http, stalled'],
  [
    'main.ts',
    ['--only', 'ws', '--against', 'chisel'],
    '--against chisel; expected one of those that are measured: ws streams, two hops',
  ],
  ['idle.ts', ['--devices', '1000,many'], '--devices many; expected a number of 1 or more'],
  ['replicas.ts', ['--rounds', '0'], '--rounds 0; expected a number of 1 or more'],
  ['neighbours.ts', ['--rate', 'fast'], '--rate fast; expected a number of 0 or more'],
  ['profile.ts', ['bulk', '--seconds', '0'], '--seconds 0; expected a number of 1 or more'],
  ['profile.ts', ['requests', '--tls'], '--tls; expected a load other than requests'],
  ['../load/main.ts', ['--seconds', '3'], "Unknown option '--seconds'"],
])(
  '%s %j says what is wrong, and what would be right',
  async (program, args, message) => {
    const file = fileURLToPath(new URL(`../${program}`, import.meta.url));
    const failed = await promisify(execFile)(process.execPath, [file, ...args], { timeout: 60_000 }).catch((error) => error);
    expect(failed).toMatchObject({ code: 2 });
    expect(failed.stderr.slice(0, message.length)).toBe(message);
  },
  70_000,
);

it('npm run profile -- bulk --tls --direct says how busy each process is, with transfers past the edge', async () => {
  const args = [fileURLToPath(new URL('../profile.ts', import.meta.url)), 'bulk', '--tls', '--direct', '--seconds', '2'];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 120_000 });
  for (const process of ['lease-manager-1', 'port-allocator-1', 'tcp-listener-1', 'ws-ingress-1', 'admin-1', 'agent']) {
    expect(stdout).toMatch(new RegExp(`^${process}: busy [0-9]+ % of 2 s$`, 'm'));
  }
  expect(stdout).toMatch(/^CPU of the others: edge 0 %/m);
}, 130_000);
