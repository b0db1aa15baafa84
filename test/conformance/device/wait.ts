/** What the agent did otherwise than the protocol says. */
export class Failure extends Error {
  override readonly name = 'Failure';
}

export function check(holds: boolean, message: string): void {
  if (!holds) throw new Failure(message);
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** For what a busy machine may take long to do. */
let deadlineMs = 45_000;

/** For the whole process; tests of agents that fail need not wait so long. */
export function setDeadline(ms: number): void {
  deadlineMs = ms;
}

/** Polls until the probe gives something; `what` says what the agent did not do. */
export async function until<T>(what: string, probe: () => T | undefined | false | null, limitMs = deadlineMs): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    const found = probe();
    if (found !== undefined && found !== false && found !== null) return found;
    if (performance.now() > end) throw new Failure(`within ${limitMs} ms not: ${what}`);
    await pause(5);
  }
}

/** For what must not happen: fails as soon as it does within `ms`. */
export async function never(what: string, ms: number, probe: () => boolean): Promise<void> {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    if (probe()) throw new Failure(what);
    await pause(10);
  }
}
