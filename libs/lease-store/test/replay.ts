import type { Endpoint } from '@culvert/contracts';
import { expect } from 'vitest';
import type { OutboxEntry } from '../src/index.ts';

/** What somebody who follows the events of one device alone believes of its lease. */
export function replay(events: OutboxEntry[]): { state: string; epoch: number; endpoints: Endpoint[] } | undefined {
  let now: { state: string; epoch: number; endpoints: Endpoint[] } | undefined;
  let last = { epoch: 0, seq: -1, life: '' };
  for (const { id, type, data } of events) {
    const life = id.slice(0, id.indexOf(':'));
    const { epoch, seq, endpoints } = JSON.parse(data) as { epoch: number; seq: number; endpoints: Endpoint[] };
    if (epoch === last.epoch && life === last.life) expect(seq).toBe(last.seq + 1);
    else if (epoch === last.epoch) expect(seq).toBeGreaterThan(last.seq);
    else expect(epoch > last.epoch && (seq === 0 || life !== last.life)).toBe(true); // epochs never go down
    last = { epoch, seq, life };
    if (type === 'lease.granted' || type === 'lease.resumed') {
      expect(now === undefined).toBe(type === 'lease.granted');
      now = { state: 'held', epoch, endpoints };
    } else if (type === 'lease.moved' && now !== undefined) now.endpoints = endpoints;
    else if (type === 'lease.expired') now = undefined;
    else if (now !== undefined && type === 'device.disconnected') now.state = 'lost';
    else if (now !== undefined && type === 'lease.grace') now.state = 'grace';
  }
  return now;
}
