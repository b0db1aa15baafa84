/**
 * `npm run bench`: Culvert and its alternatives, same load, same machine, same run, variants interleaved.
 *   --quick   one short round, to try the benchmark itself
 *   --rounds 5   --only a,b   drivers of one of these names, or whose names contain it
 *   --figures bulk,small,fresh,http,stalled   some groups of figures
 *   --minutes 40   no round is begun that would probably end later
 *   --stacks 1   so many of each, taken together: two of the very same code may differ by a tenth for as long as they run
 *   --against a   ratios to this one as well: medians of the rounds' ratios, with the least and the most of them
 * Nothing is waited for without a deadline: an alternative that hangs or fails keeps the figures it has, and is left out from there on.
 */
import { fork } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { commandLine, numberOf, wrong } from './command-line.ts';
import { bore } from './drivers/bore.ts';
import { cRelay, cRelayMasked } from './drivers/c-relay.ts';
import { chisel } from './drivers/chisel.ts';
import { culvert, culvertDirect, culvertNative, culvertReplicas, culvertTls, culvertTlsDirect } from './drivers/culvert.ts';
import { direct } from './drivers/direct.ts';
import type { Driver, Path } from './drivers/driver.ts';
import { frpMux, frpPool } from './drivers/frp.ts';
import { nginxStream } from './drivers/nginx.ts';
import { nginxHttp, nginxHttpAndStream } from './drivers/nginx-http.ts';
import { cRelayTls, nginxTls } from './drivers/nginx-tls.ts';
import { nodeProxy } from './drivers/node-proxy.ts';
import { rathole } from './drivers/rathole.ts';
import { relayAlone } from './drivers/relay.ts';
import { ssh } from './drivers/ssh.ts';
import { wsStreams } from './drivers/ws-streams.ts';
import { wstunnel } from './drivers/wstunnel.ts';
import { type Figures, FULL, GROUPS, measure, QUICK, RUN_IN, type Sizes, WARM_UP } from './measures.ts';
import { enterNamespace } from './namespace.ts';
import { machine, markdown, type Result, type Run, ratios, save, short } from './report.ts';

const DRIVERS: readonly Driver[] = [
  ...[
    culvert,
    culvertDirect,
    culvertNative,
    culvertTls,
    culvertTlsDirect,
    culvertReplicas,
    relayAlone,
    direct,
    cRelay,
    cRelayMasked,
    nginxStream,
    nginxTls,
    cRelayTls,
    nodeProxy,
    wsStreams,
    nginxHttp,
    nginxHttpAndStream,
  ],
  ...[ssh, frpMux, frpPool, rathole, chisel, wstunnel, bore],
];

const START_MS = 120_000;
/** One alternative's share of a round; 20 s is usual. */
const MEASURE_MS = 120_000;
const STOP_MS = 45_000;

enterNamespace();
const { values } = commandLine({
  options: {
    quick: { type: 'boolean' },
    only: { type: 'string' },
    rounds: { type: 'string' },
    figures: { type: 'string' },
    minutes: { type: 'string', default: '40' },
    stacks: { type: 'string', default: '1' },
    against: { type: 'string' },
  },
});
const plan = values.quick ? QUICK : FULL;
const unknown = (values.figures?.split(',') ?? []).filter((word) => !GROUPS.some((group) => group === word));
if (unknown.length > 0) wrong(`--figures ${unknown}; expected some of ${GROUPS.join(', ')}`);
const groups = GROUPS.filter((group) => values.figures?.split(',').includes(group) ?? true);
const sizes = { ...plan, rounds: values.rounds === undefined ? plan.rounds : numberOf('rounds', values.rounds), groups };
const mostMs = numberOf('minutes', values.minutes) * 60_000;
const chosen = choose(values.only);
const stacks = Math.floor(numberOf('stacks', values.stacks));
const [yardstick, ...others] = values.against === undefined ? [] : named(values.against, chosen);
if (values.against !== undefined && (yardstick === undefined || others.length > 0)) {
  wrong(`--against ${values.against}; expected one of those that are measured: ${chosen.map(({ name }) => name).join('; ')}`);
}

const origin = fork(new URL('./origin.ts', import.meta.url));
const { port } = await new Promise<AddressInfo>((resolve) =>
  origin.once('message', (message) => resolve(message as AddressInfo)),
);

type Keep = (one: (typeof running)[number], figures: Figures) => void;

const startedAt = performance.now();
let running: { result: Result; stack: number; path: Path }[] = [];
const results: Result[] = [];
try {
  for (let stack = 0; stack < stacks; stack += 1) for (const driver of chosen) await start(driver, stack);
  // What a compiler does once belongs to no round.
  if (!values.quick) await round('warm-up', { ...WARM_UP, groups }, () => {});
  for (let count = 1, longest = 0; count <= sizes.rounds; count += 1) {
    const at = performance.now();
    if (count > 1 && at - startedAt + longest > mostMs) {
      console.error(`no time for round ${count}`);
      break;
    }
    await round(`round ${count} of ${sizes.rounds}`, sizes, ({ result, stack }, figures) => {
      const index = (count - 1) * stacks + stack;
      result.rounds[index] = { ...result.rounds[index], ...figures };
    });
    longest = Math.max(longest, performance.now() - at);
  }
} finally {
  for (const { path } of running) await stop(path);
  origin.disconnect();
}
for (const result of results) result.rounds = Array.from(result.rounds, (figures) => figures ?? {}); // of a stack that failed earlier
const rounds = Math.ceil(Math.max(...results.map((result) => result.rounds.length)) / stacks);
const run: Run = { at: new Date().toISOString(), machine: machine(), rounds, stacks, bytes: sizes.bytes, results };
if (!values.quick)
  await save(run, new URL('../../bench/', import.meta.url), values.only === undefined && values.figures === undefined);
console.log(`${markdown(run)}\n${short(run)}`);
if (yardstick !== undefined) console.log(`\n${ratios(run, yardstick.name)}`);
process.exit(0); // visitors of an alternative that hung may still wait

async function start(driver: Driver, stack: number): Promise<void> {
  const result = results.find(({ name }) => name === driver.name) ?? (await resultOf(driver));
  if (result.unavailable !== undefined) return;
  console.error(`starting ${driver.name}${stack === 0 ? '' : `, stack ${stack + 1}`}`);
  try {
    const path = await within(START_MS, driver.start(port));
    result.version = path.version;
    running.push({ result, stack, path });
  } catch (error) {
    result.unavailable = `did not start: ${(error as Error).message}`;
    console.error(`${driver.name} ${result.unavailable}`);
  }
}

async function resultOf(driver: Driver): Promise<Result> {
  const unavailable = await driver.unavailable();
  const result: Result = { name: driver.name, version: '', rounds: [], ...(unavailable === undefined ? {} : { unavailable }) };
  results.push(result);
  return result;
}

/** One group of figures after the other: what is compared is measured within a minute or two, and a machine changes more slowly than that. */
async function round(what: string, size: Sizes, keep: Keep): Promise<void> {
  for (const group of size.groups) {
    console.error(`${what}: ${group}`);
    for (const one of [...running]) await turn(`${what}, ${group}`, one, { ...size, groups: [group] }, keep);
  }
}

async function turn(what: string, one: (typeof running)[number], size: Sizes, keep: Keep): Promise<void> {
  try {
    const runIn = { ...RUN_IN, groups: RUN_IN.groups.filter((group) => size.groups.includes(group)) };
    if (!values.quick) await within(MEASURE_MS, measure(one.path, runIn));
    keep(one, await within(MEASURE_MS, measure(one.path, size)));
  } catch (error) {
    one.result.failed = `${what}: ${(error as Error).message}`;
    console.error(`${one.result.name} failed in ${one.result.failed}`);
    running = running.filter((other) => other !== one);
    await stop(one.path);
  }
}

async function stop(path: Path): Promise<void> {
  await within(STOP_MS, path.stop()).catch((error: Error) => console.error(`stop: ${error.message}`));
}

/** The value of a promise that settles in time; what it belongs to is left to itself otherwise. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  promise.catch(() => {}); // it may fail after its time as well
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`took longer than ${ms / 1000} s`)), ms);
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The one of this name, or all whose names contain it. */
function named(text: string, among: readonly Driver[]): readonly Driver[] {
  const word = text.trim().toLowerCase();
  const exact = among.filter(({ name }) => name.toLowerCase() === word);
  return exact.length > 0 ? exact : among.filter(({ name }) => name.toLowerCase().includes(word));
}

function choose(only: string | undefined): readonly Driver[] {
  if (only === undefined) return DRIVERS;
  const chosen = only.split(',').flatMap((text) => {
    const found = named(text, DRIVERS);
    return found.length > 0 ? found : wrong(`--only ${text}; expected names of ${DRIVERS.map(({ name }) => name).join('; ')}`);
  });
  return DRIVERS.filter((driver) => chosen.includes(driver));
}
