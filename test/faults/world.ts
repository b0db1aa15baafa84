import { Redis } from 'ioredis';
import { type RunningAgent, type Stack, type StackInfo, startStack } from '../harness/system.ts';
import { digestAfterEnd, echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { checkEvents, compareWithStore } from './event-check.ts';
import { leaksBetween, measure, type Rest } from './leaks.ts';
import type { Profile } from './profile.ts';
import { Tally } from './tally.ts';
import { Visitors } from './visitors.ts';

const ENDPOINTS = 3;
const CALM_MS = 1_500;
/** An upload takes a second, and several on a busy machine. */
const RECENT_MS = 8_000;

/** Polls until the probe answers true; the deadline is a failure that says what was waited for and how it stood last. */
export async function eventually(what: string, probe: () => Promise<true | string> | true | string, ms: number): Promise<void> {
  const until = performance.now() + ms;
  let last = '';
  for (;;) {
    const answer = await Promise.resolve()
      .then(probe)
      .catch((error: Error) => error.message);
    if (answer === true) return;
    last = answer;
    if (performance.now() > until) throw new Error(`not within ${ms} ms: ${what}; ${last}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** The public port of a tcp endpoint as the agent was told last: it moves when its listener is gone for long. */
function portOf(agent: RunningAgent, port: number): number {
  const told = agent.events.findLast((one) => one.event === 'ready' || (one.event === 'endpoint' && one.port === port));
  return told?.event === 'endpoint' ? (told.public_port as number) : (agent.endpoint(port).public_port as number);
}

/** A whole stack with two of each service, real agents, and visitors that never rest. */
export class World {
  readonly profile: Profile;
  readonly stack: Stack;
  readonly tally = new Tally();
  /** From the end of a process until its successor was ready, when one was replaced last. */
  restartMs = 0;
  readonly redis: Redis;
  readonly #agents: RunningAgent[];
  readonly #targets: Target[];
  #visitors: Visitors[] = [];
  #base: Rest | undefined;
  #events = 0;

  private constructor(profile: Profile, stack: Stack, agents: RunningAgent[], targets: Target[]) {
    this.profile = profile;
    this.stack = stack;
    this.#agents = agents;
    this.#targets = targets;
    this.redis = new Redis(stack.info.redis.address, { maxRetriesPerRequest: 3 });
    this.redis.on('error', () => {}); // the probes say it
  }

  static async start(profile: Profile): Promise<World> {
    const stack = await startStack({ env: profile.env });
    const targets = await Promise.all([startWebTarget(), startTcpTarget(echo), startTcpTarget(digestAfterEnd)]);
    const [web, echoes, bulks] = targets;
    const names = Array.from({ length: profile.agents }, (_, at) => `device-${at + 1}`);
    const agents = await Promise.all(
      names.map(async (name) =>
        stack.runAgent({
          name,
          token: await stack.addDevice(name),
          mappings: [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${echoes.port}`, `tcp:9=127.0.0.1:${bulks.port}`],
        }),
      ),
    );
    return new World(profile, stack, agents, targets);
  }

  get info(): StackInfo {
    return this.stack.readInfo() ?? this.stack.info;
  }

  get agents(): readonly RunningAgent[] {
    return this.#agents;
  }

  startVisitors(): void {
    this.#visitors = this.#agents.map((agent) => {
      const url = new URL(agent.endpoint(80).url as string);
      return new Visitors(
        {
          device: agent.ready.name as string,
          edge: this.stack.info.edge,
          host: url.host,
          echo: () => portOf(agent, 7),
          bulk: () => portOf(agent, 9),
        },
        this.tally,
      );
    });
  }

  async stopVisitors(): Promise<void> {
    await Promise.all(this.#visitors.map((visitors) => visitors.stop()));
    this.#visitors = [];
  }

  /** Every process is there, and every kind of visit of every device went well for a while. */
  async calm(ms: number): Promise<void> {
    await eventually(
      'all instances are there and all visits go well',
      async () => {
        const missing = await this.#missing();
        if (missing !== undefined) return missing;
        if (this.tally.calmMs() < CALM_MS) return 'visits went wrong a moment ago';
        const served = new Set(this.tally.recent(RECENT_MS).map(({ kind, device }) => `${kind} ${device}`));
        for (const agent of this.#agents) {
          for (const kind of ['http', 'bulk']) {
            if (!served.has(`${kind} ${agent.ready.name}`)) return `no ${kind} visit of ${agent.ready.name} of late`;
          }
        }
        return true;
      },
      ms,
    );
  }

  async #missing(): Promise<string | undefined> {
    const info = this.info;
    const checks = info.services.map(async ({ id, health }) => {
      const ready = await fetch(health.replace('/healthz', '/readyz'), {
        signal: AbortSignal.timeout(2_000),
        headers: { connection: 'close' },
      }).then(
        ({ status }) => status === 200,
        () => false,
      );
      return ready ? undefined : `${id} is not ready`;
    });
    return (await Promise.all(checks)).find((fault) => fault !== undefined);
  }

  /** What no visitor needs any more must be gone. The first call notes what there is to begin with. */
  async leaks(ms: number): Promise<string[]> {
    const expected = { devices: this.#agents.length, endpoints: this.#agents.length * ENDPOINTS };
    let leaks: string[] = [];
    const look = async (): Promise<true | string> => {
      const rest = await measure(this.info, this.redis);
      leaks = leaksBetween(this.#base ?? rest, rest, expected);
      if (leaks.length === 0) this.#base ??= rest;
      return leaks.length === 0 ? true : leaks.join('; ');
    };
    await eventually('nothing is left', look, ms).catch((error: Error) => {
      if (leaks.length === 0) leaks = [error.message];
    });
    return leaks;
  }

  /** What is wrong with the events, from the first to the last, once the relay had time to catch up. */
  async eventFaults(ms: number): Promise<string[]> {
    let faults: string[] = [];
    const look = async (): Promise<true | string> => {
      const report = checkEvents(await this.stack.storedEvents('CULVERT_EVENTS', '*.*.*'));
      this.#events = report.events;
      faults = [...report.faults, ...(await compareWithStore(report, this.redis))];
      return faults.length === 0 ? true : faults.join('; ');
    };
    await eventually('all events are there', look, ms).catch((error: Error) => {
      if (faults.length === 0) faults = [error.message];
    });
    return faults;
  }

  get events(): number {
    return this.#events;
  }

  async stop(): Promise<void> {
    await this.stopVisitors();
    this.redis.disconnect();
    await this.stack.stop();
    await Promise.all(this.#targets.map((target) => target.close()));
  }
}
