import type { ListenerMetrics } from './metrics.ts';

/** What a visitor is going through; the label of its histogram. */
export type Stage = 'line' | 'warm' | 'dial' | 'splice';

/** Times the stages of one visitor: each begins where the former one ends, whether that went well or not. */
export class Stages {
  readonly #seconds: ListenerMetrics['stageSeconds'];
  #stage: Stage | undefined;
  #since = 0;

  constructor({ stageSeconds }: Pick<ListenerMetrics, 'stageSeconds'>) {
    this.#seconds = stageSeconds;
  }

  enter(stage: Stage): void {
    this.end();
    this.#stage = stage;
    this.#since = performance.now();
  }

  /** The stage at hand, if any, is over. */
  end(): void {
    if (this.#stage === undefined) return;
    this.#seconds.observe({ stage: this.#stage }, (performance.now() - this.#since) / 1000);
    this.#stage = undefined;
  }
}
