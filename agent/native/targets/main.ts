/**
 * `npm run native:targets [-- NAME...]`: builds the C agent for every target, prints how large it is, replays the golden vectors on
 * it and runs the conformance suite: natively, under qemu-user, under Wine. The last line is `N passed, N failed`.
 */

import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { installSystemPackages } from '../../../deploy/local/bin/system.mjs';
import { ITEMS } from '../../../test/conformance/device/items/index.ts';
import { grade } from '../../../test/conformance/device/suite.ts';
import { NATIVE, run } from '../test/build.ts';
import { fetchDebianSource } from '../test/debian-source.ts';
import { buildFuzzer, fuzz } from '../test/fuzz.ts';
import { replays } from '../test/replay.ts';
import { buildCortexM3, buildTarget, type Sizes } from './build.ts';
import { TARGETS, type Target } from './targets.ts';

/** What the agent does not claim. */
const WITHOUT = ['inline'];
/** Goals: bytes. */
const CORE_TEXT_MAX = 16 * 1024;
const MIPSEL_MAX = 100 * 1024;
const FUZZ_SECONDS = 60;
const TLS_MS = 60_000;

const FIXTURES = join(NATIVE, '../../libs/relay/test/fixtures');
/** Builds are kept from one run to the next. */
const dir = join(tmpdir(), 'culvert-native-targets');
let passed = 0;
let failed = 0;

function judge(good: boolean, what: string): void {
  if (good) passed += 1;
  else failed += 1;
  if (!good) console.log(`FAILED ${what}`);
}

function replay(target: Target, built: string, environment: readonly string[]): void {
  const suffix = target.system === 'Windows' ? '.exe' : '';
  const command = (name: string): string[] => [...environment, ...(target.by ?? []), join(built, `${name}${suffix}`)];
  const runIt = ([program = '', ...args]: string[], input = ''): string => run(program, args, { input, timeoutMs: 120_000 });
  const cases = replays();
  const answers = runIt(command('replay'), `${cases.map(({ line }) => line).join('\n')}\n`).split(/\r?\n/);
  judge(
    cases.every(({ expected }, at) => answers[at] === expected),
    `${target.name}: the golden vectors`,
  );
  judge(runIt(command('machines')).startsWith('ok: '), `${target.name}: the machines`);
}

/** A handshake over TLS that a server refuses as unavailable: the certificate was verified, and the answer read. */
async function speaksTls(command: readonly string[]): Promise<boolean> {
  const read = (name: string): string => readFileSync(join(FIXTURES, name), 'utf8');
  const server = createServer({ key: read('key.pem'), cert: read('cert.pem') }, (_, response) => {
    response.writeHead(503, { 'retry-after': '20' }).end();
  });
  server.on('upgrade', (_, socket) => socket.end('HTTP/1.1 503 No\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const [program = '', ...args] = command;
  const child = spawn(
    program,
    [...args, '--server', url, '--name', 'a', '--json', '--ca-file', join(FIXTURES, 'cert.pem'), '80'],
    {
      env: { ...process.env, CULVERT_TOKEN: 'token' },
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  const late = setTimeout(() => child.kill('SIGKILL'), TLS_MS);
  let good = false;
  for await (const line of createInterface({ input: child.stdout })) {
    const event = JSON.parse(line) as { event: string; status?: number };
    if (event.event === 'connecting') continue;
    good = event.event === 'refused' && event.status === 503;
    break;
  }
  clearTimeout(late);
  child.kill('SIGKILL');
  server.closeAllConnections();
  server.close();
  return good;
}

async function check(target: Target, mbedtls: string): Promise<{ sizes: Sizes; verdict: string }> {
  const { program, dir: built, sizes } = buildTarget(target, dir, mbedtls);
  passed += 1; // it builds without a warning
  if (target.by === undefined) return { sizes, verdict: target.why ?? 'not run' };
  const environment = target.system === 'Windows' ? ['env', `WINEPREFIX=${join(dir, 'wine')}`, 'WINEDEBUG=-all'] : [];
  replay(target, built, environment);
  const start = [...environment, ...target.by, program];
  judge(await speaksTls(start), `${target.name}: TLS`);
  const words = ['--server', '{server}', '--name', '{name}', '--token-file', '{token_file}', '--warm', '{warm}'];
  const without = new Set([...WITHOUT, ...(target.without ?? [])]);
  const results = await grade([...start, ...words, '--max-transfers', '{transfers}', '--json', '{mappings}'], ITEMS, without);
  for (const { item, grade: mark, why } of results)
    if (mark !== 'not claimed') judge(mark === 'pass', `${target.name}: ${item.name}: ${why}`);
  const good = results.filter(({ grade: mark }) => mark === 'pass').length;
  const bad = results.filter(({ grade: mark }) => mark === 'fail').length;
  return {
    sizes,
    verdict: `${good} passed, ${bad} failed of the conformance suite${target.why === undefined ? '' : `; ${target.why}`}`,
  };
}

await installSystemPackages(['native', 'cross']);
mkdirSync(join(dir, 'mbedtls'), { recursive: true });
const mbedtls = fetchDebianSource('mbedtls', join(dir, 'mbedtls'));
const m3 = buildCortexM3(dir);
console.log(`Cortex-M3, -Os: the library has ${m3.core.text} text, ${m3.core.data} data, ${m3.core.bss} bss;`);
console.log(`a control connection takes ${m3.control} bytes, a transfer ${m3.transfer}, beside buffers`);
judge(m3.core.text <= CORE_TEXT_MAX && m3.core.data + m3.core.bss === 0, 'the library is larger than it may be');

const built = buildFuzzer(dir);
try {
  fuzz(built, 1_000_000_000, FUZZ_SECONDS);
  judge(true, 'fuzzing');
} catch (error) {
  judge(false, `fuzzing: ${(error as Error).message}`);
}

const only = process.argv.slice(2);
console.log(`${'target'.padEnd(12)} core text  static+TLS  static  dynamic  bytes, stripped`);
for (const target of TARGETS.filter(({ name }) => only.length === 0 || only.includes(name))) {
  try {
    const { sizes, verdict } = await check(target, mbedtls);
    const columns = [
      String(sizes.core.text).padStart(9),
      ...[sizes.tls, sizes.plain, sizes.dynamic].map((size) => String(size).padStart(9)),
    ];
    console.log(`${target.name.padEnd(12)} ${columns.join(' ')}  ${verdict}`);
    if (target.name === 'mipsel')
      judge(sizes.dynamic <= MIPSEL_MAX, `mipsel: ${sizes.dynamic} bytes; expected at most ${MIPSEL_MAX}`);
  } catch (error) {
    judge(false, `${target.name}: ${(error as Error).message}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
