import { ERRORS, type ErrorCode } from '@culvert/contracts';

/** Pace of reconnection, in milliseconds. The defaults are the ones of PROTOCOL.md. */
export interface BackoffPolicy {
  baseMs: number;
  capMs: number;
  /** A control connection that lived this long starts again at `baseMs`. */
  stableMs: number;
  /** First wait after 409; doubles up to `capMs`. */
  nameInUseMs: number;
  /** Longest wait that Retry-After can ask for. */
  retryAfterCapMs: number;
}

export const BACKOFF: Readonly<BackoffPolicy> = {
  baseMs: 1000,
  capMs: 60_000,
  stableMs: 60_000,
  nameInUseMs: 5000,
  retryAfterCapMs: 20_000,
};

/** Plain data; `initialBackoff` makes the first one. */
export interface BackoffState {
  /** Index of the server to try next. */
  readonly server: number;
  /** The wait before, of which the next one is drawn. */
  readonly previousMs: number;
  /** Refusals with 409 in a row. */
  readonly conflicts: number;
}

/** How the last attempt, or the control connection that came of it, ended. */
export type Ending =
  /** No connection, or an answer that was none. */
  | { kind: 'failed' }
  | { kind: 'refused'; code: ErrorCode; retryAfterMs?: number | undefined }
  /** It had become ready and broke; `livedMs` since then. */
  | { kind: 'lost'; livedMs: number; code?: ErrorCode | undefined }
  /** The server asked to move; it lives on meanwhile. */
  | { kind: 'wind_down'; reconnectMs: number };

export interface NextAttempt {
  state: BackoffState;
  waitMs: number;
  /** Index into the list of servers. */
  server: number;
}

export function initialBackoff(policy: BackoffPolicy = BACKOFF): BackoffState {
  return { server: 0, previousMs: policy.baseMs, conflicts: 0 };
}

/**
 * When, and where, to connect next.
 *
 * @param servers Length of the list of servers, at least 1.
 * @param random In [0, 1); drawn anew for every call.
 */
export function nextAttempt(
  state: BackoffState,
  ending: Ending,
  servers: number,
  random: number,
  policy: BackoffPolicy = BACKOFF,
): NextAttempt {
  switch (ending.kind) {
    case 'wind_down': // any instance behind the same server may take it; nothing failed
      return go({ ...state, conflicts: 0 }, state.server, Math.floor(random * ending.reconnectMs));
    case 'lost': {
      if (ending.code !== undefined && ERRORS[ending.code].retry === 'slow') return slowest(state, servers, random, policy);
      const previousMs = ending.livedMs >= policy.stableMs ? policy.baseMs : state.previousMs;
      // What ends transfers on the way may not stand on the way to another server.
      const server = ending.code === 'transfers_dead' ? following(state, servers) : state.server;
      return decorrelated({ ...state, previousMs, conflicts: 0 }, server, random, policy);
    }
    case 'failed':
      return decorrelated({ ...state, conflicts: 0 }, following(state, servers), random, policy);
    case 'refused':
      return afterRefusal(state, ending.code, ending.retryAfterMs, servers, random, policy);
  }
}

function afterRefusal(
  state: BackoffState,
  code: ErrorCode,
  retryAfterMs: number | undefined,
  servers: number,
  random: number,
  policy: BackoffPolicy,
): NextAttempt {
  if (code === 'name_in_use') {
    const pace = Math.min(policy.capMs, policy.nameInUseMs * 2 ** Math.min(state.conflicts, 16));
    const waitMs = Math.min(policy.capMs, Math.floor(pace * (1 + random / 4)));
    return go({ ...state, conflicts: state.conflicts + 1 }, state.server, waitMs); // every server would say the same
  }
  if (ERRORS[code].retry !== 'yes') return slowest(state, servers, random, policy);
  const server = following(state, servers);
  if (retryAfterMs === undefined) return decorrelated({ ...state, conflicts: 0 }, server, random, policy);
  const waitMs = Math.min(policy.retryAfterCapMs, Math.floor(retryAfterMs * (1 + random / 4)));
  return go({ ...state, conflicts: 0 }, server, waitMs);
}

/** Uniform in [base, 3 × the wait before], at most the cap: spreads devices that fell together. */
function decorrelated(state: BackoffState, server: number, random: number, policy: BackoffPolicy): NextAttempt {
  const span = Math.max(0, state.previousMs * 3 - policy.baseMs);
  const waitMs = Math.min(policy.capMs, Math.floor(policy.baseMs + random * span));
  return go({ ...state, previousMs: waitMs }, server, waitMs);
}

/** For what only a person can mend: 0.75 to 1 × the cap. */
function slowest(state: BackoffState, servers: number, random: number, policy: BackoffPolicy): NextAttempt {
  const waitMs = Math.floor(policy.capMs * (0.75 + random / 4));
  return go({ ...state, previousMs: policy.capMs, conflicts: 0 }, following(state, servers), waitMs);
}

function following(state: BackoffState, servers: number): number {
  return (state.server + 1) % servers;
}

function go(state: BackoffState, server: number, waitMs: number): NextAttempt {
  return { state: { ...state, server }, waitMs, server };
}
