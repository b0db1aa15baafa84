import { CulvertError, codeOfClose, type ErrorCode, VISITOR_OUTCOMES, type VisitorOutcome } from '@culvert/contracts';
import type { StopSignal } from './stop.ts';

export type Role = 'client' | 'server';

/** The outcome of a visitor whose transfer was ended with this code. */
export function outcomeOf(code: ErrorCode): VisitorOutcome {
  const same = VISITOR_OUTCOMES.find((outcome) => outcome === code);
  if (same !== undefined) return same;
  if (code === 'moved' || code === 'lease_lost') return 'superseded';
  return code === 'too_large' ? 'protocol_error' : 'peer_reset';
}

/**
 * The outcome of a visitor whose transfer the peer closed with this WebSocket close code, before both ENDs. `peer_reset`
 * speaks of the TCP connection at the peer's end, which is the visitor's when the peer is the server.
 */
export function outcomeOfClose(close: number, role: Role): VisitorOutcome {
  const code = codeOfClose(close);
  if (code === 'peer_reset' && role === 'client') return 'visitor_reset';
  return code === undefined ? 'peer_reset' : outcomeOf(code);
}

export const CLOSE_NORMAL = 1000;
export const CLOSE_GOING_AWAY = 1001;
/** Stands for a close frame without a code. */
export const CLOSE_NO_CODE = 1005;
/** Stands for a WebSocket that broke without a close frame. */
export const CLOSE_BROKEN = 1006;
export const CLOSE_INTERNAL = 1011;

/** The code for the end of a WebSocket by this close code: of our table, `bye` for an orderly close, else `peer_reset`. */
export function codeOfEnding(close: number): ErrorCode {
  const orderly = close === CLOSE_NORMAL || close === CLOSE_GOING_AWAY || close === CLOSE_NO_CODE;
  return codeOfClose(close) ?? (orderly ? 'bye' : 'peer_reset');
}

/** Who broke off when our own TCP side did. */
export function outcomeOfTcp(role: Role): VisitorOutcome {
  return role === 'server' ? 'visitor_reset' : 'peer_reset';
}

/** The code a signal stands for: that of a CulvertError given as its reason, else `wind_down`. */
export function codeOfAbort(signal: Pick<StopSignal, 'reason'>): ErrorCode {
  return signal.reason instanceof CulvertError ? signal.reason.code : 'wind_down';
}
