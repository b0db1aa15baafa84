/** One thing that a visitor did, from its first byte to its end. Times are of performance.now(). */
export interface Visit {
  kind: 'http' | 'bulk' | 'echo';
  device: string;
  startedAt: number;
  endedAt: number;
  /** What went wrong; undefined when it went well. `refused` stands alone: no connection was made, so nothing was broken. */
  fault: string | undefined;
}

/** A visit that went well but took this long was held; an upload takes its second in any case. */
const HELD_MS: Readonly<Record<Visit['kind'], number>> = { http: 1_000, bulk: 2_500, echo: Number.POSITIVE_INFINITY };

export interface Seen {
  visits: number;
  failed: number;
  /** Connections to tcp endpoints that were refused at once. */
  refused: number;
  held: number;
  /** Of http requests, in milliseconds. */
  p99: number;
  longest: number;
  /** From the injection to the end of the last visit that failed, was refused or was held; 0 when none was. */
  recoveredMs: number;
  faults: string[];
}

/** Collects visits between two marks. */
export class Tally {
  #visits: Visit[] = [];

  add(visit: Visit): void {
    this.#visits.push(visit);
  }

  /** Empties it. */
  take(): Visit[] {
    const visits = this.#visits;
    this.#visits = [];
    return visits;
  }

  /** How long ago the last visit ended that was not as it should be; Infinity when all were. */
  calmMs(): number {
    const last = this.#visits.findLast(isTrouble);
    return last === undefined ? Number.POSITIVE_INFINITY : performance.now() - last.endedAt;
  }

  /** Visits that went well and began within the last `ms`. */
  recent(ms: number): Visit[] {
    const from = performance.now() - ms;
    return this.#visits.filter((visit) => visit.startedAt >= from && visit.fault === undefined);
  }
}

const durationOf = ({ startedAt, endedAt }: Visit): number => endedAt - startedAt;
const isHeld = (visit: Visit): boolean => durationOf(visit) > HELD_MS[visit.kind];
const isTrouble = (visit: Visit): boolean => visit.fault !== undefined || isHeld(visit);

export function sumUp(visits: readonly Visit[], injectedAt: number): Seen {
  const wrong = visits.filter(({ fault }) => fault !== undefined);
  const refused = wrong.filter(({ fault }) => fault === 'refused').length;
  const times = visits.filter(({ kind, fault }) => kind === 'http' && fault === undefined).map(durationOf);
  times.sort((a, b) => a - b);
  const last = visits.filter(isTrouble).reduce((latest, { endedAt }) => Math.max(latest, endedAt), injectedAt);
  const texts = new Map<string, number>();
  for (const { kind, fault } of wrong) texts.set(`${kind}: ${fault}`, (texts.get(`${kind}: ${fault}`) ?? 0) + 1);
  return {
    visits: visits.length,
    failed: wrong.length - refused,
    refused,
    held: visits.filter((visit) => visit.fault === undefined && isHeld(visit)).length,
    p99: Math.round(times[Math.floor(times.length * 0.99)] ?? 0),
    longest: Math.round(times.at(-1) ?? 0),
    recoveredMs: Math.round(last - injectedAt),
    faults: [...texts].map(([text, count]) => `${count} × ${text}`),
  };
}
