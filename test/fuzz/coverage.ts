import { type Profiler, Session } from 'node:inspector';

/** Blocks of one function that some run has left out. */
type Gaps = Map<string, { from: number; to: number }>;

/**
 * Which blocks of our sources were run, by V8's own block coverage: no instrumentation, and no package for it. V8 names the
 * blocks that were left out; one that was left out by an earlier run, and is not by this one, was reached. How often a block ran
 * counts by powers of two: that is how loops and lengths are told apart. Only what is loaded after the start is seen by blocks.
 */
export class Coverage {
  readonly #session = new Session();
  readonly #gaps = new Map<string, Gaps>();
  readonly #seen = new Set<string>();
  readonly #sources: RegExp;

  constructor(sources: RegExp) {
    this.#sources = sources;
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  get blocks(): number {
    return this.#seen.size;
  }

  /** Did the last run reach anything new? */
  grew(): boolean {
    const before = this.#seen.size;
    this.#session.post('Profiler.takePreciseCoverage', (_error, { result }: Profiler.TakePreciseCoverageReturnType) => {
      for (const { url, functions } of result) {
        if (this.#sources.test(url)) for (const { ranges } of functions) this.#note(url, ranges);
      }
    });
    return this.#seen.size > before;
  }

  /** Everything counts as new again. */
  forget(): void {
    this.#seen.clear();
  }

  #note(url: string, ranges: readonly Profiler.CoverageRange[]): void {
    const [whole] = ranges;
    if (whole === undefined || whole.count === 0) return;
    const name = `${url} ${whole.startOffset}`;
    const gaps: Gaps = this.#gaps.get(name) ?? new Map();
    this.#gaps.set(name, gaps);
    const left = ranges.filter(({ count }) => count === 0);
    for (const { startOffset: from, endOffset: to } of left) gaps.set(`${from} ${to}`, { from, to });
    for (const { startOffset, endOffset, count } of ranges) {
      if (count > 0) this.#seen.add(`${name} ${startOffset} ${endOffset} ${Math.min(8, Math.floor(Math.log2(count)))}`);
    }
    for (const [gap, { from, to }] of gaps) {
      if (!left.some(({ startOffset, endOffset }) => startOffset <= from && to <= endOffset))
        this.#seen.add(`${name} ${gap} reached`);
    }
  }
}
