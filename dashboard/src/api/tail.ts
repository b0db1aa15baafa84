import { EVENT_TYPES } from '@culvert/contracts';
import { useCallback, useEffect, useRef, useState } from 'react';
import { words } from '../ui/format.ts';
import { openStream } from './stream.ts';
import type { CulvertEvent, VisitorRequest } from './types.ts';

/** An event as a line. */
export interface TailEvent {
  key: number;
  type: string;
  group: string;
  at: number;
  device: string;
  /** What is worth saying of it beside its type. */
  line: string;
  /** What is searched. */
  text: string;
  json: unknown;
}

export interface Tail {
  events: readonly TailEvent[];
  paused: boolean;
  setPaused: (paused: boolean) => void;
  /** How many came during the pause, and are shown after it. */
  held: number;
  /** How many were let go. */
  dropped: number;
  clear: () => void;
}

const MOST = 1_000;
/** However many come, the page is painted this often. */
const PAINT_MS = 200;
const GROUPS = ['device', 'lease', 'conn', 'visitor'];
let keys = 0;

/** Codes are said in words; ids and addresses stay as they are. */
function lineOf(type: string, data: Record<string, unknown>): string {
  const code = (value: unknown): unknown => (typeof value === 'string' ? words(value) : value);
  const parts = type.startsWith('conn.')
    ? [data.visitor, code(data.outcome), `port ${data.port}`]
    : [code(data.reason), code(data.code), data.remote, data.instance];
  return parts.filter((part) => typeof part === 'string' && part !== '').join(' · ');
}

function tailEvent(type: string, at: number, device: string, line: string, json: unknown): TailEvent {
  const head = type.split('.')[0] ?? '';
  const group = GROUPS.includes(head) ? head : 'other';
  return { key: keys++, type, group, at, device, line, json, text: `${type} ${device} ${line} ${codesOf(json)}`.toLowerCase() };
}
/** Codes as they are written in the event: they are searched, too. */
function codesOf(json: unknown): string {
  const { data, outcome } = json as { data?: Record<string, unknown>; outcome?: string };
  return [outcome, data?.outcome, data?.reason, data?.code].filter((code) => typeof code === 'string').join(' ');
}

/** All events from now on, the newest first; bounded, and still while it is paused. */
export function useTail(): Tail {
  const [events, setEvents] = useState<readonly TailEvent[]>([]);
  const [paused, setPausedState] = useState(false);
  const [held, setHeld] = useState(0);
  const [dropped, setDropped] = useState(0);
  const waiting = useRef<TailEvent[]>([]);
  const lost = useRef(0);
  const isPaused = useRef(false);

  const setPaused = useCallback((next: boolean) => {
    isPaused.current = next;
    setPausedState(next);
  }, []);
  const clear = useCallback(() => {
    waiting.current = [];
    lost.current = 0;
    setEvents([]);
    setHeld(0);
    setDropped(0);
  }, []);

  useEffect(() => {
    const add = (event: TailEvent): void => {
      waiting.current.push(event);
      if (waiting.current.length <= MOST) return;
      waiting.current.shift();
      lost.current += 1;
    };
    const onEvent = ({ type, time, subject, data }: CulvertEvent, json: unknown): void =>
      add(tailEvent(type, Date.parse(time), subject, lineOf(type, data), json));
    const onRequest = (one: VisitorRequest): void => {
      const line = `${one.method} ${one.path} · ${one.status}${one.outcome === 'ok' ? '' : ` ${words(one.outcome)}`} · ${one.remote} · ${one.ms} ms`;
      add(tailEvent('visitor.request', one.at, one.device, line, one));
    };
    const stop = openStream({
      url: '/v1/events',
      on: {
        'visitor.request': onRequest,
        ...Object.fromEntries(EVENT_TYPES.map((type) => [type, (event: CulvertEvent) => onEvent(event, event)])),
      },
    });
    const timer = setInterval(() => {
      const came = waiting.current;
      if (isPaused.current) {
        setHeld(came.length);
        return;
      }
      setHeld(0);
      if (came.length === 0) return;
      waiting.current = [];
      came.reverse();
      setEvents((before) => {
        const all = [...came, ...before];
        lost.current += Math.max(0, all.length - MOST);
        return all.slice(0, MOST);
      });
      setDropped(lost.current);
    }, PAINT_MS);
    return () => {
      stop();
      clearInterval(timer);
    };
  }, []);

  return { events, paused, setPaused, held, dropped, clear };
}
