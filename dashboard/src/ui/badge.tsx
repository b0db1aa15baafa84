import type { Device, FleetState } from '../api/types.ts';

export const STATE_NAMES: Readonly<Record<FleetState, string>> = {
  connected: 'Connected',
  reconnecting: 'Reconnecting',
  grace: 'In grace',
  offline: 'Offline',
  revoked: 'Revoked',
};
export const STATES = Object.keys(STATE_NAMES) as FleetState[];

export const stateOf = ({ revoked, state, state_detail }: Device): FleetState =>
  revoked ? 'revoked' : state_detail === 'reconnecting' ? 'reconnecting' : state;

/** Colour and shape say the same as the word. */
export function StateBadge({ state }: { state: FleetState }) {
  return (
    <span className={`badge ${state}`}>
      <i aria-hidden="true" />
      {STATE_NAMES[state]}
    </span>
  );
}
