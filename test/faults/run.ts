import type { Fault } from './fault.ts';
import { FAULTS } from './faults.ts';
import type { Profile } from './profile.ts';
import { type Seen, sumUp } from './tally.ts';
import { World } from './world.ts';

export interface Row {
  fault: string;
  seen: Seen;
  /** One sentence for everything that broke a promise. */
  broken: string[];
  eventFaults: string[];
  leaks: string[];
}

const REST_MS = 20_000;

/** Injects one fault under load and looks at what became of visitors, events and leftovers. */
export async function runFault(world: World, fault: Fault): Promise<Row> {
  world.tally.take();
  world.startVisitors();
  const broken: string[] = [];
  await world.calm(world.profile.recoverMs);
  world.tally.take();
  const injectedAt = performance.now();
  try {
    await fault.inject(world);
    await world.calm(world.profile.recoverMs);
  } catch (error) {
    broken.push((error as Error).message);
  }
  await world.stopVisitors();
  const seen = sumUp(world.tally.take(), injectedAt);
  broken.push(...fault.judge(seen, world));
  const leaks = await world.leaks(REST_MS);
  const eventFaults = await world.eventFaults(REST_MS);
  return { fault: fault.name, seen, broken, eventFaults, leaks };
}

export interface Verdict {
  fault: string;
  outcome: 'ok' | 'flaky' | 'failed';
  /** The second time included. */
  seconds: number;
}

/** Injects faults into one world after the other: what was not well has its own, and is injected once more. */
export class Runner {
  readonly #profile: Profile;
  readonly #tell: (row: Row) => void;
  #world: World | undefined;

  /** `tell` gets every row. */
  constructor(profile: Profile, tell: (row: Row) => void) {
    this.#profile = profile;
    this.#tell = tell;
  }

  /** Well at the second time only, it is `flaky`; wrong twice, it has failed. */
  async run(fault: Fault): Promise<Verdict> {
    const startedAt = performance.now();
    const outcome = (await this.#isWell(fault)) ? 'ok' : (await this.#isWell(fault)) ? 'flaky' : 'failed';
    return { fault: fault.name, outcome, seconds: Math.round((performance.now() - startedAt) / 1000) };
  }

  async #isWell(fault: Fault): Promise<boolean> {
    let well = false;
    try {
      this.#world ??= await World.start(this.#profile);
      await this.#world.leaks(REST_MS);
      const row = await runFault(this.#world, fault);
      this.#tell(row);
      well = isWell(row);
    } catch (error) {
      this.#tell(rowOfCrash(fault, error as Error));
    }
    if (!well) await this.stop();
    return well;
  }

  async stop(): Promise<void> {
    const world = this.#world;
    this.#world = undefined;
    await world?.stop();
  }
}

/** All faults, one after the other; with `minutes` again and again until they are over. */
export async function runFaults(profile: Profile, minutes: number, tell: (row: Row) => void, only?: RegExp): Promise<Verdict[]> {
  const until = performance.now() + minutes * 60_000;
  const verdicts: Verdict[] = [];
  const runner = new Runner(profile, tell);
  const faults = FAULTS.filter(({ name }) => only === undefined || only.test(name));
  try {
    do {
      for (const fault of faults) verdicts.push(await runner.run(fault));
    } while (performance.now() < until);
  } finally {
    await runner.stop();
  }
  return verdicts;
}

/** The world did not even come to rest before the fault, or broke down in it. */
function rowOfCrash({ name }: Fault, error: Error): Row {
  return { fault: name, seen: sumUp([], performance.now()), broken: [error.message], eventFaults: [], leaks: [] };
}

export const isWell = ({ broken, eventFaults, leaks }: Row): boolean => broken.length + eventFaults.length + leaks.length === 0;

/** As against an event that is missing. */
const isDisorder = (fault: string): boolean => /^(?:out of order|impossible)/.test(fault);

/** `missing` and `disordered` count faults of events. */
const COLUMNS = [
  'fault',
  'visits',
  'failed',
  'refused',
  'held',
  'p99 ms',
  'longest ms',
  'recovered ms',
  'missing',
  'disordered',
  'leaks',
] as const;

/** The rows as a table of plain text, what went wrong below it. */
export function tableOf(rows: readonly Row[]): string {
  const cells = rows.map(({ fault, seen, eventFaults, leaks }) =>
    [
      fault,
      seen.visits,
      seen.failed,
      seen.refused,
      seen.held,
      seen.p99,
      seen.longest,
      seen.recoveredMs,
      eventFaults.length - eventFaults.filter(isDisorder).length,
      eventFaults.filter(isDisorder).length,
      leaks.length,
    ].map(String),
  );
  const widths = COLUMNS.map((title, at) => Math.max(title.length, ...cells.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join('  ');
  const notes = rows.flatMap(({ fault, seen, broken, eventFaults, leaks }) => [
    ...seen.faults.map((text) => `  ${fault}: visitors saw ${text}`),
    ...[...broken, ...eventFaults, ...leaks].map((text) => `  ${fault}: BROKEN: ${text}`),
  ]);
  return [line(COLUMNS), ...cells.map(line), ...notes].join('\n');
}
