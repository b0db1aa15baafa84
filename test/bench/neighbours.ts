/**
 * `npm run bench:flood`: what a flood of visitors against one device, which has a policy, does to the visitors of another one on
 * the same listener and edge. Rounds without and with the flood take turns; the figure is the median of the rounds.
 *   --rounds 5   --ms 3000   --width 64   visitors of the flood at a time
 * Exit code 1 when the p99 of the other device's visitors is more than twice what it is without.
 */
import { fork } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { parseArgs } from 'node:util';
import { startStack } from '../harness/system.ts';
import { median, percentile } from './figures.ts';
import { enterNamespace } from './namespace.ts';
import { freshVisitors, pingPong, requests } from './visitor.ts';

enterNamespace();
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    ms: { type: 'string', default: '3000' },
    width: { type: 'string', default: '64' },
  },
});
const MS = Number(values.ms);
const PROMISED = 2;
/** As an operator would bound a camera. */
const POLICY = { visitors: 32, visitors_per_second: 50, bytes_per_second: 10_000_000 };

const origin = fork(new URL('./origin.ts', import.meta.url));
const { port: originPort } = await new Promise<AddressInfo>((resolve) =>
  origin.once('message', (it) => resolve(it as AddressInfo)),
);
const stack = await startStack({ env: { CULVERT_LOG_LEVEL: 'warn' } });
const figures = new Map<string, { alone: number[]; beside: Record<string, number[]> }>();
const floods: Record<string, number[][]> = { tcp: [], http: [] };
try {
  const device = async (name: string): Promise<{ tcp: number; host: string; stop(): Promise<unknown> }> => {
    const mappings = [`tcp:9=127.0.0.1:${originPort}`, `http:80=127.0.0.1:${originPort}`];
    const agent = await stack.runAgent({ name, token: await stack.addDevice(name), mappings });
    const { hostname } = new URL(agent.endpoint(80).url as string);
    return { tcp: agent.endpoint(9).public_port as number, host: hostname, stop: () => agent.stop() };
  };
  const [victim, other] = [await device('flooded'), await device('other')];
  await stack.admin('PUT', '/v1/devices/flooded/policy', POLICY);
  const edge = Number(new URL(stack.info.edge).port);

  /** Microseconds of the other device's visitors, for about MS. */
  const visit = async (keep: (what: string, p99: number) => void): Promise<void> => {
    const fresh = await freshVisitors([other.tcp], 1, MS / 3);
    keep('new visitor to answer', percentile(fresh.times, 0.99));
    const trips: number[] = [];
    for (const until = performance.now() + MS / 3; performance.now() < until; )
      trips.push(...(await pingPong(other.tcp, (done) => done < 100)).slice(1));
    keep('200 B round trip', percentile(trips, 0.99));
    const pages = await requests({ port: edge, host: other.host }, 1, MS / 3);
    keep('HTTP request by the edge', percentile(pages.times, 0.99));
  };
  const noted = (what: string): { alone: number[]; beside: Record<string, number[]> } => {
    const known = figures.get(what) ?? { alone: [], beside: { tcp: [], http: [] } };
    figures.set(what, known);
    return known;
  };

  await visit(() => {}); // what is compiled once belongs to no round
  for (let round = 1; round <= Number(values.rounds); round += 1) {
    console.error(`round ${round} of ${values.rounds}`);
    await visit((what, p99) => noted(what).alone.push(p99));
    for (const kind of ['tcp', 'http'] as const) {
      const to = kind === 'tcp' ? victim.tcp : edge;
      const args = [kind, String(to), victim.host, values.width, String(MS + 1_500)];
      const crowd = fork(new URL('./crowd.ts', import.meta.url), args, { execArgv: [] });
      const over = new Promise<{ begun: number; served: number }>((resolve, reject) => {
        crowd.once('message', (counts) => resolve(counts as { begun: number; served: number }));
        crowd.once('exit', (code) => reject(new Error(`the crowd exited with ${code}`)));
      });
      await new Promise((done) => setTimeout(done, 1_000)); // until it is there
      await visit((what, p99) => noted(what).beside[kind]?.push(p99));
      const { begun, served } = await over;
      floods[kind]?.push([begun, served]);
    }
  }
  await victim.stop();
  await other.stop();
} finally {
  await stack.stop();
  origin.disconnect();
}

let worst = 0;
console.log(
  '\n| the other device, p99 in µs | alone | beside a flood by port | | beside a flood by name | |\n| --- | --- | --- | --- | --- | --- |',
);
for (const [what, { alone, beside }] of figures) {
  const base = median(alone);
  const cells = Object.values(beside).flatMap((times) => {
    const ratio = median(times) / base;
    worst = Math.max(worst, ratio);
    return [Math.round(median(times)), `${ratio.toFixed(2)}x`];
  });
  console.log(`| ${what} | ${Math.round(base)} | ${cells.join(' | ')} |`);
}
for (const [kind, counts] of Object.entries(floods)) {
  const perSecond = (index: number): number => Math.round(median(counts.map((one) => one[index] ?? 0)) / ((MS + 1_500) / 1000));
  console.log(
    `flood by ${kind === 'tcp' ? 'port' : 'name'}: ${perSecond(0)} connections a second, ${perSecond(1)} served a second`,
  );
}
console.log(`${worst <= PROMISED ? 'kept' : 'NOT kept'}: at most ${PROMISED}x (worst ${worst.toFixed(2)}x)`);
process.exit(worst <= PROMISED ? 0 : 1);
