import type { Redis } from 'ioredis';
import type { CulvertEventLike } from '../harness/system.ts';

/** What a device's events say that it is. */
type State = 'none' | 'held' | 'reconnecting' | 'grace';

/** Which state an event may be said in, and which one follows. */
const STEPS: Readonly<Record<string, { from: readonly State[]; to?: State }>> = {
  'lease.granted': { from: ['none'], to: 'held' },
  'lease.resumed': { from: ['held', 'reconnecting', 'grace'], to: 'held' },
  'device.connected': { from: ['held'] },
  'device.disconnected': { from: ['held'], to: 'reconnecting' },
  'lease.grace': { from: ['reconnecting'], to: 'grace' },
  'lease.expired': { from: ['held', 'reconnecting', 'grace'], to: 'none' },
  'lease.moved': { from: ['held', 'reconnecting', 'grace'] },
  'device.refused': { from: ['held', 'reconnecting', 'grace'] },
  'device.flapping': { from: ['held', 'reconnecting', 'grace'] },
};

interface Story {
  state: State;
  epoch: number;
  seq: number;
  /** Incarnation of the store that said so. */
  store: string;
}

export interface EventReport {
  events: number;
  /** One sentence for everything that is missing, out of order or impossible. */
  faults: string[];
  stories: Map<string, Story>;
}

/**
 * Replays a stream in its own order, as an integrator would: by (epoch, seq), without gaps, from state to state. The first
 * event of a device under another incarnation of the store may skip numbers: how far they had come was lost, and a
 * `store.recovered` must say so.
 */
export function checkEvents(events: readonly CulvertEventLike[]): EventReport {
  const faults: string[] = [];
  const stories = new Map<string, Story>();
  const seen = new Set<string>();
  const announced = new Set(events.filter(({ type }) => type === 'store.recovered').map(({ subject }) => subject));
  let counted = 0;
  for (const { id, type, subject, data } of events) {
    const step = STEPS[type];
    if (step === undefined) continue;
    counted += 1;
    if (seen.has(id)) continue; // at least once
    seen.add(id);
    const store = id.slice(0, id.indexOf(':'));
    const { epoch, seq } = data as { epoch: number; seq: number };
    const story = stories.get(subject) ?? { state: 'none', epoch: 0, seq: -1, store };
    const here = `${type} of ${subject}, (${epoch}, ${seq}) after (${story.epoch}, ${story.seq}) in ${story.state}`;
    if (epoch < story.epoch || (epoch === story.epoch && seq <= story.seq)) faults.push(`out of order: ${here}`);
    else if (store !== story.store && !announced.has(store)) faults.push(`missing: store.recovered of ${store}`);
    else if (seq !== (epoch === story.epoch ? story.seq + 1 : 0) && store === story.store) faults.push(`missing before ${here}`);
    else if (!step.from.includes(story.state)) faults.push(`impossible: ${here}`);
    // A clean end goes to grace within the same script: its lease.grace follows at once.
    stories.set(subject, { state: step.to ?? story.state, epoch, seq, store });
  }
  return { events: counted, faults, stories };
}

/** Compares the last event of every device with the store; what is not relayed yet is missing. */
export async function compareWithStore(report: EventReport, redis: Redis): Promise<string[]> {
  const faults: string[] = [];
  const present = (await redis.get('store:incarnation')) ?? '';
  const devices = new Set([...(await redis.zrange('leases', '0', '-1')), ...report.stories.keys()]);
  for (const device of devices) {
    const [state, epoch, seq] = await redis.hmget(`lease:${device}`, 'state', 'epoch', 'seq');
    const story = report.stories.get(device) ?? { state: 'none', epoch: 0, seq: -1, store: present };
    if (state == null) {
      if (story.state !== 'none') faults.push(`${device} has no lease, and its events end in ${story.state}`);
    } else if (
      story.state !== state ||
      story.epoch !== Number(epoch) ||
      (story.seq !== Number(seq) - 1 && story.store === present)
    ) {
      faults.push(
        `${device} is ${state} at (${epoch}, ${Number(seq) - 1}), and its events end in ${story.state} at (${story.epoch}, ${story.seq})`,
      );
    }
  }
  return faults;
}
