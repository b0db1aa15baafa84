/**
 * Every timeout and cap of the system, in one place. Each can be overridden by the environment variable
 * `CULVERT_LIMIT_<NAME>`; values are validated at start.
 */
export interface Limit {
  unit: 'ms' | 'bytes' | 'count';
  default: number;
  min: number;
  max: number;
  reason: string;
}

const ms = (value: number, min: number, max: number, reason: string): Limit => ({ unit: 'ms', default: value, min, max, reason });
const bytes = (value: number, min: number, max: number, reason: string): Limit => ({
  unit: 'bytes',
  default: value,
  min,
  max,
  reason,
});
const count = (value: number, min: number, max: number, reason: string): Limit => ({
  unit: 'count',
  default: value,
  min,
  max,
  reason,
});

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const KIB = 1024;

export const LIMITS = {
  // Handshakes and control connections
  HANDSHAKE_MS: ms(10 * SECOND, 100, MINUTE, 'a handshake that takes longer is not a device that works'),
  HANDSHAKE_BYTES: bytes(8 * KIB, KIB, 64 * KIB, 'request line and headers of a handshake; the longest legal one is under 2 KiB'),
  HANDSHAKES_PENDING: count(512, 1, 100_000, 'unauthenticated handshakes at once in one instance; bounds their memory'),
  TLS_FILES_MS: ms(MINUTE, 10, HOUR, 'how often services that end TLS themselves look whether its files were renewed'),
  TLS_SESSION_MS: ms(10 * MINUTE, 1, 24 * HOUR, 'agents resume the TLS session of a server that has proved itself no longer ago'),
  ACQUIRES_AT_ONCE: count(
    64,
    1,
    10_000,
    'leases being acquired at once by one ws-ingress; who finds no turn within 0.4 of HANDSHAKE_MS is sent away for a while',
  ),
  CONTROL_MESSAGE_BYTES: bytes(1024, 256, 64 * KIB, 'protocol version 1: a flat JSON object that a microcontroller can hold'),
  CONTROL_MESSAGES_PER_SECOND: count(1000, 10, 1_000_000, 'messages of one device; dials refused at full speed stay below'),
  CONTROL_BUFFER_BYTES: bytes(
    256 * KIB,
    4 * KIB,
    16 * 1024 * KIB,
    'unsent control messages of one device; past it the connection is cut',
  ),
  CLOSE_MS: ms(2 * SECOND, 50, MINUTE, 'closing handshake of a WebSocket; afterwards the socket is destroyed'),
  HANDSHAKES_PER_ADDRESS: count(
    500,
    1,
    1_000_000,
    'handshakes of one address in a second at one instance, three times as many at once; many devices may stand behind one address',
  ),
  FAILED_TOKENS_PER_ADDRESS: count(
    60,
    1,
    1_000_000,
    'wrong tokens of one address in a minute at one instance; beyond it only tokens that were right before are looked at',
  ),
  FAILED_PASSWORDS_PER_OPERATOR: count(
    10,
    1,
    1_000_000,
    'wrong passwords for one name in a minute at one instance; a token lets them in all the same',
  ),
  PORTS_PER_DEVICE: count(32, 1, 32, 'protocol version 1'),
  // Leases
  GRACE_MS: ms(
    HOUR,
    100,
    365 * 24 * HOUR,
    'CULVERT_GRACE sets it too: a reboot, an upgrade or a short outage keeps name and ports',
  ),
  RECONNECTING_MS: ms(5 * SECOND, 0, MINUTE, 'visitors of a lost device are held this long; longer and browsers look frozen'),
  TENURE_CONFIRM_MS: ms(30 * SECOND, 500, 5 * MINUTE, 'a granted tenure that is not confirmed falls back to its former state'),
  PROBE_MS: ms(2 * SECOND, 50, 30 * SECOND, 'how long a holder may take to show that it lives before a newcomer takes over'),
  FLAPPING_WINDOW_MS: ms(
    5 * MINUTE,
    100,
    24 * HOUR,
    'two clients that oust each other in turn within this time are told from one that moves',
  ),
  FLAPPING_MS: ms(5 * SECOND, 0, MINUTE, 'the first wait of who ousts in turn; doubles with each turn, up to 12 times as much'),
  COOL_DOWN_MS: ms(
    10 * MINUTE,
    100,
    24 * HOUR,
    'a freed port is not given out again so soon: a stale bookmark must not reach another device',
  ),
  RECORD_SLACK_MS: ms(
    24 * HOUR,
    MINUTE,
    30 * 24 * HOUR,
    "TTL of store records beyond their due time: the store's own safety net",
  ),
  SWEEP_MS: ms(500, 20, 10 * SECOND, 'how often lease-manager looks for due leases'),
  // Instances
  INSTANCE_RENEW_MS: ms(3 * SECOND, 50, MINUTE, 'three renewals fit into one TTL'),
  INSTANCE_TTL_MS: ms(10 * SECOND, 200, 5 * MINUTE, 'an instance that did not renew for this long is gone'),
  LISTENER_GONE_MS: ms(30 * SECOND, 500, HOUR, 'http names of a listener that is gone this long move to another'),
  WIND_DOWN_MS: ms(
    MINUTE,
    500,
    HOUR,
    'running transfers may finish this long after SIGTERM, and behind an edge that is reloaded',
  ),
  RECOVERY_MS: ms(
    10 * SECOND,
    200,
    5 * MINUTE,
    'after the loss of the store the living re-assert what they hold for this long; three renewals fit into it',
  ),
  // Visitors and transfers
  DIAL_MS: ms(10 * SECOND, 100, MINUTE, 'from the first dial to an attached transfer'),
  LOCAL_CONNECT_MS: ms(
    5 * SECOND,
    50,
    MINUTE,
    'the agent connects to its local target; below DIAL_MS so that the reason reaches the visitor',
  ),
  LINGER_MS: ms(MINUTE, 100, 24 * HOUR, 'how long the second direction may stay silent after the first has ended'),
  WRITE_MS: ms(
    MINUTE,
    100,
    HOUR,
    'a peer that takes no byte for this long, by what the kernel can tell, is frozen; found after one to two of it',
  ),
  VISITORS_WAITING_PER_DEVICE: count(
    256,
    1,
    100_000,
    'visitors without a transfer yet; bounds sockets held for a device that does not answer',
  ),
  VISITORS_PER_DEVICE: count(1024, 1, 100_000, 'visitors of one device at once, waiting ones included'),
  VISITORS_PER_ADDRESS: count(
    256,
    1,
    100_000,
    'visitors at once from one address at the tcp endpoints of one device, unless its policy says otherwise: others find a place, too',
  ),
  NEW_VISITORS_PER_DEVICE: count(
    500,
    1,
    1_000_000,
    'new visitors of the tcp endpoints of one device in a second, unless its policy says otherwise; as many may come at once',
  ),
  REFUSALS_PER_DEVICE: count(
    20,
    1,
    100_000,
    'refused visitors of one device in a second that are gone at once and told of in events and logs; more are a flood: they are counted only',
  ),
  REFUSED_MS: ms(
    SECOND,
    20,
    MINUTE,
    'a flood of refused visitors waits so long for its reset: who comes again at once, comes once in that time. A tcp port with more of them stays closed for as long',
  ),
  REFUSED_HELD_PER_DEVICE: count(
    64,
    0,
    10_000,
    'refused visitors of one device that wait for their reset; the kernel turns the others away',
  ),
  VISITOR_IDLE_MS: ms(
    125 * MINUTE,
    100,
    30 * 24 * HOUR,
    'a visitor without a byte in either direction, unless the policy says otherwise of tcp endpoints; NATs may forget it after 124 minutes (RFC 5382)',
  ),
  TRANSFERS_PER_DEVICE: count(256, 1, 10_000, 'transfers at once when the device names no number of its own'),
  MAX_FRAME_BYTES: bytes(64 * KIB, 125, 1024 * KIB, 'largest binary message sent to a device that names no number of its own'),
  TRANSFER_BUFFER_BYTES: bytes(
    256 * KIB,
    16 * KIB,
    1024 * KIB,
    'largest read of one direction of a transfer; at most one is unflushed',
  ),
  TURN_BYTES: bytes(
    128 * KIB,
    64 * KIB,
    64 * 1024 * KIB,
    'bytes one transfer may move in an event-loop turn while others wait; four times as many while none does',
  ),
  // Operators' connections to devices
  ACCESS_TICKET_MS: ms(10 * SECOND, 100, MINUTE, 'from the grant of an operator to the connection that uses it up'),
  ACCESS_TICKETS: count(1024, 1, 100_000, 'unused tickets in one listener; bounds what operators can pile up'),
  ACCESS_LOCAL: count(256, 1, 10_000, "connections at once of one culvert forward or culvert socks on the operator's machine"),
  SOCKS_MS: ms(10 * SECOND, 100, MINUTE, 'greeting and request of a SOCKS client, which stands next to the proxy'),
  // Warm transfers
  WARM_PER_DEVICE: count(16, 0, 64, 'warm transfers waiting per device'),
  WARM_PER_LISTENER: count(1024, 0, 20_000, 'warm transfers waiting per listener'),
  WARM_RECENT_MS: ms(5 * MINUTE, 100, 24 * HOUR, 'a device visited this recently may keep warm transfers'),
  WARM_WAIT_MS: ms(
    20,
    0,
    SECOND,
    'a visitor waits for a warm transfer to come back instead of dialling, when one came back as lately; five times as long at most, while they do',
  ),
  WARM_ACCEPT_MS: ms(2 * SECOND, 50, 10 * SECOND, 'from `assign` to `accepted`; afterwards the visitor is dialled classically'),
  // Inline transfers
  INLINE_PER_DEVICE: count(16, 0, 64, 'inline transfers granted to a device; 0 grants none'),
  INLINE_PER_INGRESS: count(
    1024,
    0,
    20_000,
    'inline transfers open at once in one ws-ingress; beyond it a visitor is refused as busy',
  ),
  INLINE_WINDOW_BYTES: bytes(
    64 * KIB,
    KIB,
    1024 * KIB,
    'bytes of one inline transfer that ws-ingress, or our agent, holds unread; times INLINE_PER_DEVICE it bounds the memory of a device',
  ),
  // Canaries
  MEND_REST_MS: ms(
    MINUTE,
    100,
    HOUR,
    'a control connection beside dead transfers is ended at once, the next one not before this, each further one twice as late, up to 64 times; our agent leaves a direct address that gives no transfer alone as long',
  ),
  USAGE_MS: ms(5 * SECOND, 100, MINUTE, 'between two reports of what devices have moved; a cap holds this late'),
  USAGE_CONTROL_MS: ms(
    15 * MINUTE,
    100,
    24 * HOUR,
    'the same for control connections: idle devices shall cost the store next to nothing',
  ),
  // Bus
  COMMAND_MS: ms(5 * SECOND, 100, MINUTE, 'reply to a command'),
  ACQUIRE_MS: ms(
    8 * SECOND,
    500,
    MINUTE,
    'reply to cmd.lease.acquire: a probe, an allocation and a bind fit into it; under HANDSHAKE_MS',
  ),
  EVENT_RING: count(10_000, 16, 1_000_000, 'conn.* events waiting for NATS; older ones are dropped and counted'),
  EVENTS_RETENTION_MS: ms(7 * 24 * HOUR, MINUTE, 365 * 24 * HOUR, 'device.* and lease.* events are kept this long'),
  CONN_EVENTS_BYTES: bytes(
    256 * 1024 * KIB,
    1024 * KIB,
    1024 * 1024 * 1024 * KIB,
    'size of the stream of conn.* events; the oldest go first',
  ),
  // Operators
  AUDIT_RETENTION_MS: ms(400 * 24 * HOUR, MINUTE, 3650 * 24 * HOUR, 'audit entries are kept this long: a year and a bit'),
  GRANT_MS: ms(30 * 24 * HOUR, SECOND, 365 * 24 * HOUR, 'longest life of a link that opens a private page'),
  GRANT_ENTER_MS: ms(MINUTE, SECOND, HOUR, 'a link of the dashboard, which is good once, is followed at once'),
  GRANTS_PER_DEVICE: count(100, 1, 10_000, 'links that open one device'),
  DOMAINS_PER_DEVICE: count(32, 1, 10_000, 'host names of its own that lead to one device'),
  CERTIFICATE_SOON_MS: ms(
    14 * 24 * HOUR,
    SECOND,
    365 * 24 * HOUR,
    "a domain's certificate that ends sooner is spoken of: time to see why it was not renewed",
  ),
  CERTIFICATE_LOOK_MS: ms(HOUR, 50, 24 * HOUR, 'certificates of domains are looked through this often'),
  OPERATORS: count(1_000, 1, 100_000, 'operators in the registry'),
  LOGIN_MS: ms(12 * HOUR, SECOND, 30 * 24 * HOUR, 'a login of the dashboard: a working day'),
  IDEMPOTENCY_MS: ms(24 * HOUR, SECOND, 7 * 24 * HOUR, 'a write with the same Idempotency-Key gets the same answer for so long'),
  RECHECK_MS: ms(
    5 * SECOND,
    50,
    MINUTE,
    'rights behind a running stream are looked up again this often; a removal announced on the bus acts at once',
  ),
  TRACES: count(8, 1, 1_000, 'traces at once in one admin, and in one listener: each dials the device'),
  TRACE_MS: ms(
    15 * SECOND,
    3 * SECOND,
    MINUTE,
    'a trace says by then what it has found; a fifth for each step, two fifths for the dials',
  ),
  WAITS: count(256, 1, 10_000, 'calls at once in one admin that wait for a device'),
  WAIT_MS: ms(10 * MINUTE, SECOND, HOUR, 'longest wait for a device in one call'),
  // Webhooks
  WEBHOOKS: count(100, 0, 10_000, 'webhooks in all; each has a consumer on the event stream'),
  WEBHOOK_ANSWER_MS: ms(15 * SECOND, 100, MINUTE, 'from sending an event to the status of the answer'),
  WEBHOOK_RETRY_MS: ms(5 * SECOND, 10, HOUR, 'wait after a first failure; doubles up to 120 times as much, with jitter'),
  WEBHOOK_EVENT_MS: ms(24 * HOUR, 100, 30 * 24 * HOUR, 'an event that could not be delivered for so long is a dead letter'),
  WEBHOOK_DISABLE_MS: ms(5 * 24 * HOUR, 100, 365 * 24 * HOUR, 'a webhook that takes nothing for so long is disabled'),
  WEBHOOK_DEAD: count(1_000, 1, 100_000, 'dead letters kept for each webhook; the oldest go first'),
  // Edge
  ROUTE_AGE_MS: ms(2 * SECOND, 100, MINUTE, 'age of a cached route while Redis answers'),
  ROUTE_STALE_MS: ms(
    8 * MINUTE,
    SECOND,
    HOUR,
    'age of a cached route while Redis is away; with EDGE_KEEPALIVE_MS below COOL_DOWN_MS',
  ),
  EDGE_KEEPALIVE_MS: ms(
    4 * SECOND,
    100,
    5 * MINUTE,
    'idle upstream connection at the edge; below the 5 s after which Node and Apache targets close theirs',
  ),
  EDGE_RETRY_MS: ms(5 * SECOND, 0, MINUTE, 'requests not sent yet are tried again this long while a listener restarts'),
  EDGE_CONNECT_MS: ms(3 * SECOND, 50, MINUTE, 'connecting to a listener or an ingress, which stand next to the edge'),
  EDGE_ANSWER_MS: ms(
    MINUTE,
    100,
    24 * HOUR,
    'silence of a device that was asked for a page: 504; requests for event streams and upgrades may be silent for EDGE_STREAM_MS',
  ),
  EDGE_STREAM_MS: ms(HOUR, 100, 24 * HOUR, "silence within a visitor's request; event streams and WebSockets may be silent long"),
  EDGE_CONTROL_MS: ms(
    10 * MINUTE,
    SECOND,
    24 * HOUR,
    'silence on a control connection; 2.5 of the longest heartbeats fit into it',
  ),
  EDGE_TRANSFER_MS: ms(24 * HOUR, SECOND, 7 * 24 * HOUR, 'silence on a transfer connection; tcp visitors may be silent for long'),
  EDGE_STORE_MS: ms(500, 20, 10 * SECOND, 'reply of Redis to the edge; afterwards it serves what it knows'),
  EDGE_UNKNOWN_NAMES: count(
    300,
    1,
    1_000_000,
    'requests for names that nobody has, a minute and address; then names that the edge does not know are not looked up for it',
  ),
  EDGE_FAILED_HANDSHAKES: count(
    120,
    1,
    1_000_000,
    'handshakes of devices and operators that were refused for good, a minute and address; a fleet behind one NAT fits',
  ),
  EDGE_HANDSHAKES_PER_ADDRESS: count(
    6_000,
    1,
    10_000_000,
    'full TLS handshakes begun, a minute and address, at one edge; sessions that are resumed do not count. A fleet behind one NAT fits',
  ),
  EDGE_REQUESTS_PER_DEVICE: count(
    1000,
    1,
    1_000_000,
    "visitors' requests for one device in a second, at one edge, unless its policy says otherwise; as many may come at once",
  ),
  EDGE_REQUESTS_PER_ADDRESS: count(
    500,
    1,
    1_000_000,
    "visitors' requests from one address in a second, at one edge; as many may come at once. Raise it behind a proxy that hides addresses",
  ),
  EDGE_TOO_FAST_MS: ms(
    SECOND,
    0,
    MINUTE,
    'a request that came too fast is answered with 429 so much later: who repeats it at once waits, too',
  ),
  EDGE_VISITORS_PER_ADDRESS: count(2_048, 1, 100_000, "visitors' requests at once from one address, at one edge"),
  EDGE_REPORTS: count(
    500,
    0,
    5_000,
    'requests that a worker of the edge reports twice a second for live views; others are counted only',
  ),
  VISITORS_KEPT: count(200, 1, 10_000, 'last visitors remembered of each device'),
  VISITORS_KEPT_MS: ms(HOUR, SECOND, 7 * 24 * HOUR, 'visitors are remembered this long after the last one came'),
  // Lifecycle
  STOP_MS: ms(10 * SECOND, 500, 10 * MINUTE, 'a service that has not stopped by then is ended'),
} as const satisfies Record<string, Limit>;

export type LimitName = keyof typeof LIMITS;
export type Limits = Readonly<Record<LimitName, number>>;

export const DEFAULT_LIMITS: Limits = Object.freeze(
  Object.fromEntries(Object.entries(LIMITS).map(([name, limit]) => [name, limit.default])) as Record<LimitName, number>,
);
