import { CulvertError } from '@culvert/contracts';
import type { DeviceView } from '../device-view.ts';
import type { FleetEntry } from './fleet.ts';

/** What devices can be sorted by. */
export const SORT_KEYS = ['name', 'state', 'since', 'due', 'created_at', 'remote', 'listener', 'ingress'] as const;
export type SortKey = (typeof SORT_KEYS)[number];
/** `reconnecting` is the first part of grace, when its visitors still wait. */
export const STATE_FILTERS = ['connected', 'reconnecting', 'grace', 'offline', 'revoked'] as const;
export type StateFilter = (typeof STATE_FILTERS)[number];

export interface FleetQuery {
  /** Part of a name, label, host name, port, address or note. */
  q?: string | undefined;
  /** One of these. */
  state?: readonly StateFilter[] | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
  listener?: string | undefined;
  ingress?: string | undefined;
  sort: SortKey;
  descending: boolean;
  limit: number;
  cursor?: string | undefined;
}

type SortValue = string | number | null;
/** Where a page ended; the next one begins behind it, whatever has come and gone meanwhile. */
interface Position {
  sort: string;
  value: SortValue;
  name: string;
}

const STATE_ORDER = { connected: 0, grace: 1, offline: 2 } as const;

/** A page of the devices that fit, and how many fit. @throws CulvertError `bad_request` for a cursor of another query. */
export function queryFleet(
  all: Iterable<FleetEntry>,
  query: FleetQuery,
): { devices: DeviceView[]; cursor: string | null; total: number } {
  const order = `${query.descending ? '-' : ''}${query.sort}`;
  const compare = comparison(query.descending);
  const after = query.cursor === undefined ? undefined : positionIn(query.cursor, order);
  const fitting: Position[] = [];
  const views = new Map<string, DeviceView>();
  for (const { view, text } of all) {
    if (!fits(view, text, query)) continue;
    fitting.push({ sort: order, value: sortValue(view, query.sort), name: view.name });
    views.set(view.name, view);
  }
  fitting.sort(compare);
  const rest = after === undefined ? fitting : fitting.filter((one) => compare(one, after) > 0);
  const page = rest.slice(0, query.limit);
  const last = page.at(-1);
  return {
    devices: page.map(({ name }) => views.get(name) as DeviceView),
    cursor: last === undefined || rest.length === page.length ? null : Buffer.from(JSON.stringify(last)).toString('base64url'),
    total: fitting.length,
  };
}

/** How many devices are in which state. Revoked ones are counted beside it, whatever their state is. */
export function countFleet(all: Iterable<FleetEntry>): Record<StateFilter | 'devices', number> {
  const counts = { devices: 0, connected: 0, reconnecting: 0, grace: 0, offline: 0, revoked: 0 };
  for (const { view } of all) {
    counts.devices += 1;
    counts[view.state_detail === 'reconnecting' ? 'reconnecting' : view.state] += 1;
    if (view.revoked) counts.revoked += 1;
  }
  return counts;
}

function fits(view: DeviceView, text: string, { q, state, labels, listener, ingress }: FleetQuery): boolean {
  if (
    q !== undefined &&
    !q
      .toLowerCase()
      .split(/\s+/)
      .every((word) => text.includes(word))
  )
    return false;
  if (state !== undefined && !state.some((one) => isIn(view, one))) return false;
  if (listener !== undefined && view.listener !== listener) return false;
  if (ingress !== undefined && view.ingress !== ingress) return false;
  return labels === undefined || Object.entries(labels).every(([name, value]) => view.labels[name] === value);
}

function isIn(view: DeviceView, state: StateFilter): boolean {
  if (state === 'revoked') return view.revoked;
  if (state === 'reconnecting') return view.state_detail === 'reconnecting';
  return view.state === state;
}

function sortValue(view: DeviceView, key: SortKey): SortValue {
  return key === 'state' ? STATE_ORDER[view.state] : view[key];
}

/** What has no value comes last, in either direction; equal ones are in the order of their names. */
function comparison(descending: boolean): (a: Position, b: Position) => number {
  return (a, b) => {
    if (a.value !== b.value) {
      if (a.value === null) return 1;
      if (b.value === null) return -1;
      return a.value < b.value === descending ? 1 : -1;
    }
    return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
  };
}

function positionIn(cursor: string, order: string): Position {
  try {
    const { sort, value, name } = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as Position;
    const known = value === null || typeof value === 'string' || typeof value === 'number';
    if (sort === order && known && typeof name === 'string') return { sort, value, name };
  } catch {
    // It is none of ours.
  }
  throw new CulvertError('bad_request', 'cursor is of another list; expected that of the page before, with the same sort');
}
