import type { StackInfo } from '../harness/system.ts';
import { ANY_ORDER } from './any-order.ts';
import type { Fault } from './fault.ts';
import { ROLLING } from './rolling.ts';
import type { Seen } from './tally.ts';
import { eventually, type World } from './world.ts';

/** Which process it befalls, chosen when it does. */
type Choice = (world: World) => Promise<(info: StackInfo) => number>;

const instance =
  (id: string) =>
  ({ services }: StackInfo): number =>
    services.find((one) => one.id === id)?.pid ?? 0;
/** Of a service without devices of its own. */
const either =
  (service: string): Choice =>
  async () =>
    instance(`${service}-${1 + Math.floor(Math.random() * 2)}`);
/** The instance that has the most leases, so that somebody feels it. */
const busiest =
  (service: 'ws-ingress' | 'tcp-listener'): Choice =>
  async ({ redis }) => {
    const index = service === 'ws-ingress' ? 'leases:ingress:' : 'leases:listener:';
    const [first, second] = await Promise.all([1, 2].map((one) => redis.zcard(`${index}${service}-${one}`)));
    return instance(`${service}-${(first ?? 0) >= (second ?? 0) ? 1 : 2}`);
  };
const redis: Choice = async () => (info) => info.redis.pid;
const nats: Choice = async () => (info) => info.natsServer.pid;
const nginx: Choice = async () => (info) => info.nginx.pid;

const START_MS = 30_000;
/** From SIGCONT until visitors are well again. */
const AT_ONCE_MS = 10_000;

/** Signals it, and waits until another process has taken its place. */
async function replace(world: World, choice: Choice, signal: NodeJS.Signals, ms: number): Promise<void> {
  const pidOf = await choice(world);
  const before = pidOf(world.info);
  process.kill(before, signal);
  let goneAt: number | undefined;
  await eventually(
    'it was started again',
    () => {
      if (!isAlive(before)) goneAt ??= performance.now();
      return pidOf(world.info) !== before || `still ${before}`;
    },
    ms,
  );
  // Read from stack.json, which says only what is ready.
  world.restartMs = performance.now() - (goneAt ?? performance.now());
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function freeze(world: World, choice: Choice, ms: number): Promise<void> {
  const pid = (await choice(world))(world.info);
  process.kill(pid, 'SIGSTOP');
  try {
    await new Promise((done) => setTimeout(done, ms));
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}

/** Killed, and not started again for a while: who would start them stands still. */
async function keepAway(world: World, choices: readonly Choice[], ms: number): Promise<void> {
  const pidsOf = await Promise.all(choices.map((choice) => choice(world)));
  const before = pidsOf.map((pidOf) => pidOf(world.info));
  process.kill(world.stack.pid, 'SIGSTOP');
  try {
    for (const pid of before) process.kill(pid, 'SIGKILL');
    await new Promise((done) => setTimeout(done, ms));
  } finally {
    process.kill(world.stack.pid, 'SIGCONT');
  }
  const isBack = (pidOf: (info: StackInfo) => number, at: number): boolean => pidOf(world.info) !== before[at];
  await eventually('they were started again', () => pidsOf.every(isBack) || 'not all', START_MS);
}

/** Every byte of the store is gone, and what runs finds out by itself. */
async function empty({ redis }: World): Promise<void> {
  const incarnation = await redis.get('store:incarnation');
  await redis.flushall();
  await eventually(
    'the store lives again',
    async () => {
      const now = await redis.get('store:incarnation');
      return (now !== null && now !== incarnation) || `its incarnation is ${now}`;
    },
    START_MS,
  );
}

const killed = (choice: Choice) => (world: World) => replace(world, choice, 'SIGKILL', START_MS);
const terminated = (choice: Choice) => (world: World) => replace(world, choice, 'SIGTERM', world.profile.windDownMs + START_MS);
const frozen = (choice: Choice) => (world: World) => freeze(world, choice, world.profile.pauseMs);
const stalled = (choice: Choice) => (world: World) => freeze(world, choice, world.profile.awayMs);
const away =
  (...choices: Choice[]) =>
  (world: World) =>
    keepAway(world, choices, world.profile.awayMs);

/** No visitor sees anything; `held` may be. */
const nothing = ({ failed, refused, faults }: Seen): string[] =>
  failed + refused === 0 ? [] : [`visitors saw ${faults.join(', ')}`];
/** Only visits of these kinds may fail. */
const only =
  (...allowed: RegExp[]) =>
  ({ faults }: Seen): string[] => {
    const other = faults.filter((fault) => !allowed.some((pattern) => pattern.test(fault)));
    return other.length === 0 ? [] : [`visitors saw ${other.join(', ')}`];
  };
const anything = (): string[] => [];
/** Without NATS nobody is dialled: new visitors wait as long as a dial may take. */
const undialled = only(/http: status 50[34]/, /bulk: /);
/** What it held it holds again, as soon as it goes on. */
const atOnce =
  (judge: Fault['judge']): Fault['judge'] =>
  (seen, world) => {
    const broken = judge(seen, world);
    const most = world.profile.pauseMs + AT_ONCE_MS;
    if (seen.recoveredMs > most)
      broken.push(`visitors were well again after ${seen.recoveredMs} ms; at most ${most} were promised`);
    return broken;
  };

/** One of each service, and every server that they need. */
export const FAULTS: readonly Fault[] = [
  { name: 'ws-ingress, kill -9', inject: killed(busiest('ws-ingress')), judge: nothing },
  { name: 'ws-ingress, SIGTERM', inject: terminated(busiest('ws-ingress')), judge: nothing },
  {
    name: 'ws-ingress, frozen',
    inject: frozen(busiest('ws-ingress')),
    judge: atOnce(only(/^.* × (?:http: status 50[34]|bulk: )/)),
  },
  // Its visitors are cut with it.
  { name: 'tcp-listener, kill -9', inject: killed(busiest('tcp-listener')), judge: anything },
  // tcp endpoints refuse for the time of the restart; what does not end within the limit is cut.
  {
    name: 'tcp-listener, SIGTERM',
    inject: terminated(busiest('tcp-listener')),
    judge: only(/bulk: refused$/, /echo: /),
  },
  { name: 'tcp-listener, frozen', inject: frozen(busiest('tcp-listener')), judge: anything },
  { name: 'lease-manager, kill -9', inject: killed(either('lease-manager')), judge: nothing },
  { name: 'lease-manager, SIGTERM', inject: terminated(either('lease-manager')), judge: nothing },
  { name: 'lease-manager, frozen', inject: frozen(either('lease-manager')), judge: nothing },
  { name: 'port-allocator, kill -9', inject: killed(either('port-allocator')), judge: nothing },
  { name: 'port-allocator, SIGTERM', inject: terminated(either('port-allocator')), judge: nothing },
  { name: 'port-allocator, frozen', inject: frozen(either('port-allocator')), judge: nothing },
  { name: 'Redis, kill -9', inject: killed(redis), judge: nothing },
  { name: 'Redis, frozen', inject: stalled(redis), judge: nothing },
  { name: 'Redis, away', inject: away(redis), judge: nothing },
  { name: 'Redis, emptied', inject: empty, judge: nothing },
  { name: 'NATS, kill -9', inject: killed(nats), judge: nothing },
  { name: 'NATS, frozen', inject: stalled(nats), judge: undialled },
  { name: 'NATS, away', inject: away(nats), judge: undialled },
  { name: 'Redis and NATS, away together', inject: away(redis, nats), judge: undialled },
  // All bytes of visitors by name and all transfers cross it.
  { name: 'nginx, kill -9', inject: killed(nginx), judge: anything },
  ROLLING,
  ANY_ORDER,
];
