/** How a visitor's life can end: metric label, log field and event field alike. */
export const VISITOR_OUTCOMES = [
  'ok', // both directions ended
  'visitor_reset', // the visitor's connection broke
  'peer_reset', // the local target or the transfer connection broke
  'visitor_gone', // the visitor hung up before a transfer was attached
  'local_refused',
  'local_timeout',
  'not_allowed',
  'busy',
  'dial_timeout',
  'device_offline',
  'budget_spent', // the device has moved as many bytes today as its policy allows
  'linger_expired',
  'write_timeout',
  'idle_timeout', // neither side sent a byte for as long as the idle limit
  'revoked',
  'superseded',
  'wind_down',
  'protocol_error',
  'internal',
] as const;
export type VisitorOutcome = (typeof VISITOR_OUTCOMES)[number];

/** Why a tenure ended; the reason of `device.disconnected` and of a release. `clean` ones go to grace at once. */
export const DISCONNECT_REASONS = {
  bye: { clean: true, meaning: 'the device said bye' },
  closed: { clean: true, meaning: 'the device closed the WebSocket in order' },
  heartbeat_lost: { clean: false, meaning: 'nothing heard for 2.5 heartbeats' },
  connection_broken: { clean: false, meaning: 'the socket broke without a closing handshake' },
  transfers_dead: {
    clean: false,
    meaning: 'the control connection lived, but no transfer of the device arrived, a canary neither',
  },
  ingress_gone: { clean: false, meaning: 'the ws-ingress instance that held the connection is gone' },
  protocol_error: { clean: true, meaning: 'the device broke the protocol and was cut off' },
  taken_over: { clean: false, meaning: 'a newcomer took over from a holder that did not answer the probe' },
  revoked: { clean: true, meaning: 'the operator revoked the device' },
  not_confirmed: { clean: false, meaning: 'the tenure was granted but never confirmed' },
} as const;
export type DisconnectReason = keyof typeof DISCONNECT_REASONS;

/** Codes that a device may give in `refused`. */
export const REFUSED_CODES = ['local_refused', 'local_timeout', 'not_allowed', 'busy'] as const;
export type RefusedCode = (typeof REFUSED_CODES)[number];
