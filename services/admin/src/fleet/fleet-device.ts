import { DeviceName, Labels, SchemeName } from '@culvert/bus';
import Type from 'typebox';
import type { DeviceView } from '../device-view.ts';

export const FLEET_STATES = ['connected', 'reconnecting', 'grace', 'offline', 'revoked'] as const;

const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const Time = Type.Integer({ description: 'Milliseconds since 1970' });

/** A device as a line of a long list. */
export const FleetDevice = Type.Object(
  {
    name: DeviceName,
    state: Type.Enum(FLEET_STATES),
    since: orNull(Time),
    due: orNull(Time),
    remote: Type.String({ description: 'Its address as the edge saw it; empty when it has no lease' }),
    listener: Type.String(),
    ingress: Type.String(),
    endpoints: Type.Array(
      Type.Object({
        port: Type.Integer({ description: "The device's own number" }),
        scheme: SchemeName,
        host: Type.String(),
        public_port: Type.Integer(),
      }),
    ),
    labels: Labels,
    created_at: Time,
  },
  { $id: 'FleetDevice' },
);
export type FleetDevice = Type.Static<typeof FleetDevice>;

export function fleetDeviceOf(view: DeviceView): FleetDevice {
  return {
    name: view.name,
    state: stateOf(view),
    since: view.since,
    due: view.due,
    remote: view.remote ?? '',
    listener: view.listener ?? '',
    ingress: view.ingress ?? '',
    endpoints: view.endpoints.map(({ port, scheme, host, public_port }) => ({ port, scheme, host, public_port })),
    labels: view.labels,
    created_at: view.created_at,
  };
}

function stateOf({ revoked, state, state_detail }: DeviceView): FleetDevice['state'] {
  if (revoked) return 'revoked';
  return state_detail === 'reconnecting' ? 'reconnecting' : state;
}
