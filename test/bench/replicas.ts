/**
 * `npm run bench:replicas`: the new visitors that one, two and three tcp-listeners take (`CULVERT_REPLICAS`), where each may use a
 * share of a core only, so that it is the listeners that end first and not the machine, which all the rest shares. A device on each.
 *   --rounds 5   --ms 3000   --share 0.2   (of a core, for each listener)
 * Rounds take turns; the medians go into docs/PERFORMANCE.md. Needs root and control groups of the first version. Bytes are not
 * measured so: while a listener stands still between its shares, TCP takes that for a far and lossy link.
 */
import { fork } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { type Stack, startStack } from '../harness/system.ts';
import { commandLine, numberOf } from './command-line.ts';
import { median } from './figures.ts';
import { enterNamespace } from './namespace.ts';
import { UNBOUNDED } from './processes.ts';
import { machine } from './report.ts';
import { freshVisitors } from './visitor.ts';

const COUNTS = [1, 2, 3] as const;
/** The least that the kernel takes: so a listener stands still for as short as can be. */
const QUOTA_US = 1_000;
/** Visitors of each device at once. */
const VISITORS = 16;
/** So long, each, before a listener is bound to its share: what compilers do in it later they do at the visitors' expense, for minutes. */
const RUN_IN_MS = 12_000;
const PAGE = new URL('../../docs/PERFORMANCE.md', import.meta.url);

enterNamespace();
const { values } = commandLine({
  options: {
    rounds: { type: 'string', default: '5' },
    ms: { type: 'string', default: '3000' },
    share: { type: 'string', default: '0.2' },
  },
});
const ms = numberOf('ms', values.ms);
const share = numberOf('share', values.share, 0.01);
const rounds = numberOf('rounds', values.rounds);

/** The control group for the cpu that this process is in. */
function ownGroup(): string {
  const path = /^\d+:cpu:(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'latin1'))?.[1];
  const group = `/sys/fs/cgroup/cpu${path}`;
  if (path === undefined || !existsSync(`${group}/cpu.cfs_quota_us`)) {
    throw new Error('a listener cannot be given a share of a core here; expected root and a control group for the cpu');
  }
  return group;
}

/** A process may take so much of a core from here on. Returns the group to remove once it has ended. */
function bound(pid: number, name: string): string {
  const group = `${ownGroup()}/${name}`;
  mkdirSync(group, { recursive: true });
  writeFileSync(`${group}/cpu.cfs_period_us`, String(Math.round(QUOTA_US / share)));
  writeFileSync(`${group}/cpu.cfs_quota_us`, String(QUOTA_US));
  writeFileSync(`${group}/cgroup.procs`, String(pid));
  return group;
}

interface Fleet {
  listeners: number;
  stack: Stack;
  ports: number[];
  groups: string[];
  perSecond: number[];
}

async function start(listeners: number, originPort: number): Promise<Fleet> {
  const stack = await startStack({ env: { ...UNBOUNDED, CULVERT_REPLICAS: `tcp-listener=${listeners}` } });
  const ports: number[] = [];
  for (let index = 1; index <= listeners; index += 1) {
    const name = `device-${index}`;
    const agent = await stack.runAgent({
      name,
      token: await stack.addDevice(name),
      mappings: [`tcp:9=127.0.0.1:${originPort}`],
    });
    ports.push(agent.endpoint(9).public_port);
  }
  return { listeners, stack, ports, groups: [], perSecond: [] };
}

const visitors = ({ ports }: Fleet, forMs = ms): Promise<{ perSecond: number }> =>
  freshVisitors(ports, VISITORS * ports.length, forMs);

function table(fleets: readonly Fleet[]): string {
  const one = median(fleets[0]?.perSecond ?? []);
  const line = ({ listeners, perSecond }: Fleet): string => {
    const here = median(perSecond);
    return `| ${listeners} | ${here.toFixed(0)} | ${(here / one).toFixed(2)} x |`;
  };
  return ['| listeners | new visitors/s | of one |', '| ---: | ---: | ---: |', ...fleets.map(line)].join('\n');
}

const origin = fork(new URL('./origin.ts', import.meta.url));
const { port } = await new Promise<AddressInfo>((resolve) => origin.once('message', (it) => resolve(it as AddressInfo)));
const fleets: Fleet[] = [];
try {
  for (const listeners of COUNTS) fleets.push(await start(listeners, port));
  for (const fleet of fleets) {
    await visitors(fleet, RUN_IN_MS * fleet.listeners);
    const services = fleet.stack.info.services.filter(({ name }) => name === 'tcp-listener');
    fleet.groups = services.map(({ pid, id }) => bound(pid, `${fleet.listeners}-${id}`));
  }
  for (let count = 0; count < rounds; count += 1) {
    for (const fleet of fleets) fleet.perSecond.push((await visitors(fleet)).perSecond);
  }
  const text = `${table(fleets)}\n\n${new Date().toISOString().slice(0, 10)}, ${machine()}; ${share} of a core for each listener, medians of ${rounds} rounds.`;
  console.log(text);
  const between = /(<!-- replicas -->\n)[\s\S]*?(<!-- end of replicas -->)/;
  writeFileSync(
    PAGE,
    readFileSync(PAGE, 'utf8').replace(between, (_, begin: string, end: string) => `${begin}${text}\n${end}`),
  );
} finally {
  for (const { stack } of fleets) await stack.stop();
  for (const group of fleets.flatMap(({ groups }) => groups)) rmdirSync(group);
  origin.disconnect();
}
process.exit(0);
