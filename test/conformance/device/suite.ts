import type { Socket } from 'node:net';
import { AgentProcess, type AgentSetup } from './agent.ts';
import { ScriptServer } from './server.ts';
import { type LocalTarget, LocalTarget as Target } from './targets.ts';
import { Failure } from './wait.ts';

/** What an agent may leave out; everything else every agent must do. */
export const CLAIMS = ['reconnect', 'moves', 'warm', 'inline', 'proxy', 'limit'] as const;
export type Claim = (typeof CLAIMS)[number];

/** One thing that an agent must do. Its name is stable: `--without` and broken agents name it. */
export interface Item {
  name: string;
  what: string;
  claim?: Claim;
  /** It mostly waits: started first, beside the others. */
  waits?: true;
  run(bench: Bench): Promise<void>;
}

export type Grade = 'pass' | 'fail' | 'not claimed';
export interface Result {
  item: Item;
  grade: Grade;
  /** Why it failed. */
  why: string;
  ms: number;
}

/** What an item works with: a server of its own, agents, targets. All of it ends with the item. */
export class Bench {
  readonly server: ScriptServer;
  readonly agents: AgentProcess[] = [];
  readonly #command: readonly string[];
  readonly #ends: (() => Promise<void>)[] = [];

  constructor(command: readonly string[], server: ScriptServer) {
    this.#command = command;
    this.server = server;
    this.onEnd(() => server.stop());
  }

  /** Starts an agent; without mappings it offers tcp:7, to a target that does not exist. */
  start(setup: Partial<AgentSetup> = {}): AgentProcess {
    const agent = new AgentProcess(this.#command, { server: this.server.url, mappings: ['tcp:7=127.0.0.1:1'], ...setup });
    this.agents.push(agent);
    this.onEnd(() => agent.kill());
    return agent;
  }

  async target(serve: (socket: Socket) => void): Promise<LocalTarget> {
    const target = await Target.start(serve);
    this.onEnd(() => target.stop());
    return target;
  }

  onEnd(end: () => Promise<void>): void {
    this.#ends.push(end);
  }

  async close(): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
  }
}

/** Agents that run at once beside those that mostly wait. */
const AT_ONCE = 3;
const ITEM_MS = 180_000;

/** Runs the items, those that wait beside the others, and grades each. `tell` hears of each as it is done. */
export async function grade(
  command: readonly string[],
  items: readonly Item[],
  without: ReadonlySet<string>,
  tell: (result: Result) => void = () => {},
): Promise<Result[]> {
  const results = new Map<Item, Result>();
  const one = async (item: Item): Promise<void> => {
    const left = without.has(item.name) || (item.claim !== undefined && without.has(item.claim));
    const result: Result = left ? { item, grade: 'not claimed', why: '', ms: 0 } : await run(command, item);
    results.set(item, result);
    tell(result);
  };
  const queue = items.filter((item) => item.waits !== true);
  const lane = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await one(item);
  };
  const waiting = items.filter((item) => item.waits === true).map(one);
  await Promise.all([...waiting, ...Array.from({ length: AT_ONCE }, lane)]);
  return items.flatMap((item) => results.get(item) ?? []);
}

async function run(command: readonly string[], item: Item): Promise<Result> {
  const started = performance.now();
  const bench = new Bench(command, await ScriptServer.start());
  let why = '';
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Failure(`not done within ${ITEM_MS} ms`)), ITEM_MS);
    });
    await Promise.race([item.run(bench), late]);
  } catch (error) {
    why = error instanceof Failure ? error.message : `the suite itself failed: ${(error as Error).stack}`;
    const said = bench.agents.at(-1)?.output.split('\n').at(-1);
    if (said !== undefined && said !== '') why += ` (the agent's last words: ${said.slice(0, 300)})`;
  } finally {
    clearTimeout(timer);
    await bench.close();
  }
  return { item, grade: why === '' ? 'pass' : 'fail', why, ms: Math.round(performance.now() - started) };
}
