import type { ActiveSpan } from '@culvert/service-kit';
import type { ListenerMetrics } from './metrics.ts';

/** What a visitor is going through; the label of its histogram and the name of its span. */
export type Stage = 'line' | 'warm' | 'dial' | 'splice';

/** Times the stages of one visitor: each begins where the former one ends, whether that went well or not. */
export class Stages {
  readonly #seconds: ListenerMetrics['stageSeconds'];
  /** Of the whole visit; stages are its children. */
  span: ActiveSpan | undefined;
  #stage: Stage | undefined;
  #stageSpan: ActiveSpan | undefined;
  #since = 0;
  /** In seconds; not told yet. */
  #ended: { stage: Stage; seconds: number }[] = [];

  constructor({ stageSeconds }: Pick<ListenerMetrics, 'stageSeconds'>) {
    this.#seconds = stageSeconds;
  }

  /** For whoever works for the stage at hand; undefined when the visit is not traced. */
  get traceparent(): string | undefined {
    return this.#stageSpan?.traceparent;
  }

  /** @param now In milliseconds of `performance.now()`. */
  enter(stage: Stage, now = performance.now()): void {
    this.end('ok', now);
    this.#stage = stage;
    this.#stageSpan = this.span?.child(`listener ${stage}`);
    this.#since = now;
  }

  /** The stage at hand, if any, is over. */
  end(outcome: string, now = performance.now()): void {
    const stage = this.#stage;
    if (stage === undefined) return;
    this.#ended.push({ stage, seconds: (now - this.#since) / 1000 });
    this.#stageSpan?.end(outcome);
    this.#stage = undefined;
  }

  /** Puts the stages that are over into the histogram. */
  tell(): void {
    for (const { stage, seconds } of this.#ended) this.#seconds.observe({ stage }, seconds);
    this.#ended = [];
  }
}
