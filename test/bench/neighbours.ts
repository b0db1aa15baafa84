/**
 * `npm run bench:flood`: what a flood of visitors against one device, which has a policy, does to the visitors of another one on
 * the same listener and edge. Rounds without a flood, with a flood that never reaches us (a closed port, a bare nginx: what the
 * crowd itself takes of the machine) and with the flood take turns; figures are medians of the rounds.
 *   --rounds 5   --ms 3000   --width 64 (visitors of the flood at a time)
 *   --rate 1000  so many new visitors a second, whatever becomes of the others, in place of `width` that come again at once
 * Exit code 1 when the p99 of the other device's visitors is more than twice what it is without a flood.
 */
import { fork } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { freePort } from '../harness/servers.ts';
import { startStack } from '../harness/system.ts';
import { commandLine, numberOf } from './command-line.ts';
import { startNginx } from './drivers/nginx.ts';
import { median, percentile } from './figures.ts';
import { enterNamespace } from './namespace.ts';
import { UNBOUNDED } from './processes.ts';
import { freshVisitors, pingPong, requests } from './visitor.ts';

enterNamespace();
const { values } = commandLine({
  options: {
    rounds: { type: 'string', default: '5' },
    ms: { type: 'string', default: '3000' },
    width: { type: 'string', default: '64' },
    rate: { type: 'string', default: '0' },
  },
});
const MS = numberOf('ms', values.ms);
const ROUNDS = numberOf('rounds', values.rounds);
for (const option of ['width', 'rate'] as const) numberOf(option, values[option], 0);
/** Before the figures are taken: until the crowd is there, and after its first second, in which it spends what it may at once. */
const BEFORE_MS = 2_000;
const CROWD_MS = MS + BEFORE_MS + 500;
const PROMISED = 2;
/** As an operator would bound a camera. */
const POLICY = { visitors: 32, visitors_per_second: 50, requests_per_second: 50, bytes_per_second: 10_000_000 };

const FLOODS = ['port', 'name'] as const;
type Flood = (typeof FLOODS)[number];
interface Crowd {
  begun: number;
  served: number;
  cpuS: number;
}
interface Figure {
  alone: number[];
  elsewhere: Record<Flood, number[]>;
  beside: Record<Flood, number[]>;
}

const origin = fork(new URL('./origin.ts', import.meta.url));
const { port: originPort } = await new Promise<AddressInfo>((resolve) =>
  origin.once('message', (it) => resolve(it as AddressInfo)),
);
const bare = await startNginx(
  (port) => `http { access_log off; server { listen 127.0.0.1:${port} backlog=4096; keepalive_requests 1000000; return 429; } }`,
);
const stack = await startStack({ env: { ...UNBOUNDED, CULVERT_LOG_LEVEL: 'warn' } });
const figures = new Map<string, Figure>();
const crowds: Record<'elsewhere' | 'beside', Record<Flood, Crowd[]>> = {
  elsewhere: { port: [], name: [] },
  beside: { port: [], name: [] },
};
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
  const targets = {
    elsewhere: { port: await freePort(), name: bare.port },
    beside: { port: victim.tcp, name: edge },
  };

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
  const noted = (what: string): Figure => {
    const known = figures.get(what) ?? { alone: [], elsewhere: { port: [], name: [] }, beside: { port: [], name: [] } };
    figures.set(what, known);
    return known;
  };

  await visit(() => {}); // what is compiled once belongs to no round
  for (let round = 1; round <= ROUNDS; round += 1) {
    console.error(`round ${round} of ${ROUNDS}`);
    await visit((what, p99) => noted(what).alone.push(p99));
    for (const flood of FLOODS) {
      for (const where of ['elsewhere', 'beside'] as const) {
        const kind = flood === 'port' ? 'tcp' : 'http';
        const args = [kind, String(targets[where][flood]), victim.host, values.width, values.rate, String(CROWD_MS)];
        const crowd = fork(new URL('./crowd.ts', import.meta.url), args, { execArgv: [] });
        const over = new Promise<Crowd>((resolve, reject) => {
          crowd.once('message', (counts) => resolve(counts as Crowd));
          crowd.once('exit', (code) => reject(new Error(`the crowd exited with ${code}`)));
        });
        await new Promise((done) => setTimeout(done, BEFORE_MS));
        await visit((what, p99) => noted(what)[where][flood].push(p99));
        crowds[where][flood].push(await over);
      }
    }
  }
  await victim.stop();
  await other.stop();
} finally {
  await stack.stop();
  await bare.stop();
  origin.disconnect();
}

let worst = 0;
const us = (times: number[]): string => String(Math.round(median(times)));
const ratio = (times: number[], base: number[]): number => median(times) / median(base);
console.log(
  `\n| the other device, p99 in µs | alone | ${FLOODS.map((flood) => `crowd elsewhere | flood by ${flood} | of alone | of elsewhere`).join(' | ')} |\n| --- | ---: | ${FLOODS.map(() => '---: | ---: | ---: | ---:').join(' | ')} |`,
);
for (const [what, { alone, elsewhere, beside }] of figures) {
  const cells = FLOODS.flatMap((flood) => {
    const [toAlone, toElsewhere] = [ratio(beside[flood], alone), ratio(beside[flood], elsewhere[flood])];
    worst = Math.max(worst, toAlone);
    return [us(elsewhere[flood]), us(beside[flood]), `${toAlone.toFixed(2)}x`, `${toElsewhere.toFixed(2)}x`];
  });
  console.log(`| ${what} | ${us(alone)} | ${cells.join(' | ')} |`);
}
for (const where of ['elsewhere', 'beside'] as const) {
  for (const flood of FLOODS) {
    const mean = (count: keyof Crowd): number => median(crowds[where][flood].map((one) => one[count])) / (CROWD_MS / 1000);
    const [begun, served] = [Math.round(mean('begun')), Math.round(mean('served'))];
    console.log(
      `crowd by ${flood} ${where === 'beside' ? 'at the device' : 'elsewhere'}: ${begun} begun and ${served} served a second, ${mean('cpuS').toFixed(2)} cores`,
    );
  }
}
console.log(`${worst <= PROMISED ? 'kept' : 'NOT kept'}: at most ${PROMISED}x (worst ${worst.toFixed(2)}x)`);
process.exit(worst <= PROMISED ? 0 : 1);
