import type { ActiveSpan } from '@culvert/service-kit';
import type { Later } from './later.ts';
import type { ListenerMetrics } from './metrics.ts';

/** What a visitor is going through; the label of its histogram and the name of its span. */
export type Stage = 'line' | 'warm' | 'dial' | 'splice';

/** Times the stages of one visitor: each begins where the former one ends, whether that went well or not. */
export class Stages {
  readonly #seconds: ListenerMetrics['stageSeconds'];
  readonly #later: Pick<Later, 'add'>;
  /** Of the whole visit; stages are its children. */
  span: ActiveSpan | undefined;
  #stage: Stage | undefined;
  #stageSpan: ActiveSpan | undefined;
  #since = 0;

  constructor({ stageSeconds }: Pick<ListenerMetrics, 'stageSeconds'>, later: Pick<Later, 'add'>) {
    this.#seconds = stageSeconds;
    this.#later = later;
  }

  /** For whoever works for the stage at hand; undefined when the visit is not traced. */
  get traceparent(): string | undefined {
    return this.#stageSpan?.traceparent;
  }

  enter(stage: Stage): void {
    this.end('ok');
    this.#stage = stage;
    this.#stageSpan = this.span?.child(`listener ${stage}`);
    this.#since = performance.now();
  }

  /** The stage at hand, if any, is over. */
  end(outcome: string): void {
    const stage = this.#stage;
    if (stage === undefined) return;
    const seconds = (performance.now() - this.#since) / 1000;
    this.#later.add(() => this.#seconds.observe({ stage }, seconds));
    this.#stageSpan?.end(outcome);
    this.#stage = undefined;
  }
}
