/**
 * `npm run profile -- <load>`: starts the stack, puts it under a load, and says where each process spends its time.
 *   bulk       8 downloads, then 8 uploads, over and over      fresh     new visitors, 32 at a time
 *   requests   HTTP through the edge, 32 kept connections      idle      nothing but one device that is there
 *   --seconds 5   how long      --top 12   functions per process      --direct   transfers past the edge
 *   --tls   the agent by TLS, which the edge ends, or with --direct the listener; not for `requests`
 * The profiles themselves are kept in bench/profiles/<load>/, for Chrome's DevTools or `speedscope`.
 */
import { fork } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { startStack } from '../harness/system.ts';
import { commandLine, numberOf, wrong } from './command-line.ts';
import { cpuSeconds } from './figures.ts';
import { enterNamespace } from './namespace.ts';
import { childPids, published, UNBOUNDED } from './processes.ts';
import { type CpuProfile, summarize } from './profile/summary.ts';
import { download, freshVisitors, requests, upload } from './visitor.ts';

interface Target {
  port: number;
  http: { port: number; host: string };
}

const LOADS: Record<string, (target: Target, ms: number) => Promise<unknown>> = {
  bulk: async ({ port }, ms) => {
    const until = performance.now() + ms;
    while (performance.now() < until) {
      await Promise.all(Array.from({ length: 8 }, () => download(port, 16e6)));
      await Promise.all(Array.from({ length: 8 }, () => upload(port, 16e6)));
    }
  },
  fresh: ({ port }, ms) => freshVisitors([port], 32, ms),
  requests: ({ http }, ms) => requests(http, 32, ms),
  idle: (_, ms) => new Promise((done) => setTimeout(done, ms)),
};

const HOOK = new URL('./profile/hook.ts', import.meta.url);
/** Until V8 has compiled what new visitors need: before that, a visitor costs the listener up to twice as much, in other functions. */
const WARM_UP_MS = 10_000;
const WRITTEN_MS = 20_000;

async function written(file: string): Promise<void> {
  const until = Date.now() + WRITTEN_MS;
  while (!existsSync(file)) {
    if (Date.now() > until) throw new Error(`${file} was not written`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

const { values, positionals } = commandLine({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '5' },
    top: { type: 'string', default: '12' },
    direct: { type: 'boolean' },
    tls: { type: 'boolean', default: false },
  },
});
const name = positionals[0] ?? '';
const load = LOADS[name];
if (load === undefined) wrong(`expected one of the loads ${Object.keys(LOADS).join(', ')}`);
if (values.tls && load === LOADS.requests) wrong('--tls; expected a load other than requests, which are plain HTTP');
enterNamespace();
const seconds = numberOf('seconds', values.seconds);
const most = numberOf('top', values.top);
const dir = fileURLToPath(new URL(`../../bench/profiles/${name}/`, import.meta.url));
rmSync(dir, { recursive: true, force: true });
mkdirSync(dir, { recursive: true });

const origin = fork(new URL('./origin.ts', import.meta.url));
const { port: originPort } = await new Promise<AddressInfo>((resolve) =>
  origin.once('message', (message) => resolve(message as AddressInfo)),
);
const NODE_OPTIONS = `--import=${HOOK}?${encodeURIComponent(dir)}`;
const stack = await startStack({
  tls: values.tls,
  env: { NODE_OPTIONS, ...UNBOUNDED, ...(values.direct ? await published(values.tls) : {}) },
});
try {
  const agent = await stack.runAgent({
    name: 'bench',
    token: await stack.addDevice('bench'),
    mappings: [`tcp:9=127.0.0.1:${originPort}`, `http:80=127.0.0.1:${originPort}`],
    env: { NODE_OPTIONS },
  });
  const { host } = new URL(agent.endpoint(80).url ?? '');
  const target = { port: agent.endpoint(9).public_port, http: { port: Number(new URL(stack.info.edge).port), host } };
  const processes = [...stack.info.services.map(({ id, pid }) => ({ id, pid })), { id: 'agent', pid: agent.pid }];
  await load(target, WARM_UP_MS);
  const edge = childPids(stack.info.nginx.pid);
  const others = { edge, redis: [stack.info.redis.pid], nats: [stack.info.natsServer.pid] };
  const before = Object.entries(others).map(([id, pids]) => ({ id, pids, cpu: cpuSeconds(pids) }));
  for (const { pid } of processes) process.kill(pid, 'SIGUSR2');
  await load(target, seconds * 1000);
  const rest = before.map(({ id, pids, cpu }) => `${id} ${(((cpuSeconds(pids) - cpu) / seconds) * 100).toFixed(0)} %`);
  for (const { pid } of processes) process.kill(pid, 'SIGUSR2');
  for (const { id, pid } of processes) {
    await written(`${dir}${pid}.cpuprofile`); // after those of its other threads
    const names = readdirSync(dir).filter((file) => file.startsWith(`${pid}.`));
    for (const file of names) {
      const own = `${dir}${file.replace(`${pid}`, id)}`;
      renameSync(`${dir}${file}`, own);
      const { busy, top } = summarize(JSON.parse(readFileSync(own, 'utf8')) as CpuProfile, most);
      const thread = file === `${pid}.cpuprofile` ? '' : `, thread ${file.split('.')[1]}`;
      console.log(`\n${id}${thread}: busy ${(busy * 100).toFixed(0)} % of ${seconds} s`);
      for (const { where, share } of top) console.log(`  ${(share * 100).toFixed(1).padStart(5)} %  ${where}`);
    }
  }
  console.log(`\nCPU of the others: ${rest.join(', ')}. Profiles: ${dir}`);
  await agent.stop();
} finally {
  await stack.stop();
  origin.disconnect();
}
