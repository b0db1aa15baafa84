import { DeviceName, Labels, type LeaseSchema, Notes, PortNumber, SchemeName } from '@culvert/bus';
import { type Endpoint, tcpHostOf } from '@culvert/contracts';
import Type from 'typebox';

const Time = Type.Integer({ minimum: 0, description: 'Milliseconds since 1970' });
const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

const EndpointView = Type.Object({
  port: Type.Integer({ description: "The device's own number for it" }),
  scheme: SchemeName,
  url: Type.Optional(Type.String({ description: 'http and https: where visitors open it' })),
  host: Type.String({ description: 'http and https: the host name; tcp: where the public port is' }),
  public_port: PortNumber,
});

/** A device as the API shows it. */
export const DeviceView = Type.Object(
  {
    name: DeviceName,
    state: Type.Enum(['connected', 'grace', 'offline'], {
      description: 'grace: not connected, but name and ports are kept until `due`; offline: it has neither',
    }),
    state_detail: orNull(Type.Enum(['held', 'reconnecting', 'grace'])),
    epoch: orNull(Type.Integer({ description: 'Fencing token of the present or last tenure' })),
    endpoints: Type.Array(EndpointView),
    since: orNull(Time),
    due: orNull(Time),
    remote: orNull(Type.String({ description: "The device's address as the edge saw it" })),
    listener: orNull(Type.String()),
    ingress: orNull(Type.String()),
    created_at: Time,
    revoked: Type.Boolean(),
    labels: Labels,
    notes: Notes,
  },
  { $id: 'Device' },
);
export type DeviceView = Type.Static<typeof DeviceView>;

type BusLease = Type.Static<typeof LeaseSchema>;
interface DeviceRecord {
  device: string;
  created_at: number;
  revoked: boolean;
  labels?: Record<string, string>;
  notes?: string;
}

/** How addresses look from outside. */
export interface PublicSide {
  scheme: 'http' | 'https';
  /** The edge's port; 0 or the scheme's own is left out of URLs. */
  port: number;
  /** Host of the public ports of tcp endpoints; `{listener}` in it stands for who has the port. */
  tcpHost: string;
}

const DEFAULT_PORT = { http: 80, https: 443 };

export function viewOf(record: DeviceRecord, lease: BusLease | null, side: PublicSide): DeviceView {
  return {
    name: record.device,
    // A device that is just reconnecting is not connected: its visitors wait.
    state: lease === null ? 'offline' : lease.state === 'held' ? 'connected' : 'grace',
    state_detail: lease?.state ?? null,
    epoch: lease?.epoch ?? null,
    endpoints: lease?.endpoints.map((endpoint) => viewOfEndpoint(endpoint, lease.listener, side)) ?? [],
    since: lease?.since ?? null,
    due: lease?.due ?? null,
    remote: lease?.remote || null,
    listener: lease?.listener ?? null,
    ingress: lease?.ingress || null,
    created_at: record.created_at,
    revoked: record.revoked,
    labels: record.labels ?? {},
    notes: record.notes ?? '',
  };
}

/** An endpoint as visitors see it. */
export function viewOfEndpoint(
  { port, scheme, host, public_port }: Type.Static<typeof LeaseSchema>['endpoints'][number] | Endpoint,
  listener: string,
  side: PublicSide,
) {
  if (host === undefined) return { port, scheme, host: tcpHostOf(side.tcpHost, listener), public_port };
  const suffix = side.port === 0 || side.port === DEFAULT_PORT[side.scheme] ? '' : `:${side.port}`;
  return { port, scheme, url: `${side.scheme}://${host}${suffix}`, host, public_port };
}
