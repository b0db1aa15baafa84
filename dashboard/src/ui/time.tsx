import { useSyncExternalStore } from 'react';

const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

/** One clock for all that is counted on the page. */
function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const one of listeners) one();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}
export const useNow = (): number => useSyncExternalStore(subscribe, () => now);

const UNITS: readonly [ms: number, name: string][] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1_000, 's'],
];

/** `3 h 12 min`: the two largest units. */
export function duration(ms: number): string {
  const first = UNITS.findIndex(([unit]) => ms >= unit);
  if (first === -1) return '0 s';
  const [unit, name] = UNITS[first] as [number, string];
  const whole = Math.floor(ms / unit);
  const next = UNITS[first + 1];
  const rest = next === undefined ? 0 : Math.floor((ms % unit) / next[0]);
  return next === undefined || rest === 0 || whole >= 10 ? `${whole} ${name}` : `${whole} ${name} ${rest} ${next[1]}`;
}

const stamp = (at: number): string => new Date(at).toLocaleString();

export function Since({ at }: { at: number }) {
  const ms = Math.max(0, useNow() - at);
  return (
    <time dateTime={new Date(at).toISOString()} title={stamp(at)}>
      {duration(ms)}
    </time>
  );
}

export function Ago({ at }: { at: number }) {
  const ms = Math.max(0, useNow() - at);
  return (
    <time dateTime={new Date(at).toISOString()} title={stamp(at)}>
      {ms < 5_000 ? 'now' : `${duration(ms)} ago`}
    </time>
  );
}

/** The time that is left. */
export function Left({ until }: { until: number }) {
  return (
    <time dateTime={new Date(until).toISOString()} title={stamp(until)}>
      {duration(Math.max(0, until - useNow()))}
    </time>
  );
}

export function Clock({ at }: { at: number }) {
  return (
    <time dateTime={new Date(at).toISOString()} title={stamp(at)}>
      {new Date(at).toLocaleTimeString(undefined, { hour12: false })}
    </time>
  );
}
