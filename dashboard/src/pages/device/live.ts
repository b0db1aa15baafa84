import { EVENT_TYPES } from '@culvert/contracts';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect } from 'react';
import { deviceQuery, historyQuery, liveVisitorsQuery, usageQuery, type Visitors } from '../../api/queries.ts';
import { openStream } from '../../api/stream.ts';
import type { CulvertEvent, TcpVisitor, VisitorRequest } from '../../api/types.ts';

const MOST_VISITORS = 50;

/**
 * Keeps all that is shown of one device as it is now, while its page is open. Events only say what to read again; visitors are
 * shown as they are told, over those that were read.
 */
export function useDeviceFeed(name: string): void {
  const queries = useQueryClient();
  useEffect(() => {
    const live = liveVisitorsQuery(name).queryKey;
    const changeVisitors = (change: (visitors: Visitors) => Visitors): void =>
      void queries.setQueryData(live, (before) => change(before ?? { requests: [], tcp: [] }));
    const onEvent = ({ type }: CulvertEvent): void => {
      void queries.invalidateQueries({ queryKey: deviceQuery(name).queryKey, exact: true });
      void queries.invalidateQueries({ queryKey: historyQuery(name).queryKey });
      if (type === 'device.budget') void queries.invalidateQueries({ queryKey: usageQuery(name).queryKey });
    };
    const onConn = ({ type, time, data }: CulvertEvent): void => {
      if (String(data.visitor).startsWith('edge:')) return; // told as a request
      const over = type !== 'conn.opened';
      const visitor: TcpVisitor = {
        ...{ id: String(data.conn), at: Date.parse(time), remote: String(data.visitor), port: Number(data.port) },
        outcome: over ? String(data.outcome) : null,
        ms: over ? Number(data.duration_ms ?? data.wait_ms) : null,
        to_device: over ? Number(data.to_device ?? 0) : null,
        to_visitor: over ? Number(data.to_visitor ?? 0) : null,
      };
      changeVisitors(({ requests, tcp }) => ({
        requests,
        tcp: [visitor, ...tcp.filter(({ id }) => id !== visitor.id)].slice(0, MOST_VISITORS),
      }));
    };
    const onRequest = (request: VisitorRequest): void =>
      changeVisitors(({ requests, tcp }) => ({ requests: [request, ...requests].slice(0, MOST_VISITORS), tcp }));
    return openStream({
      url: `/v1/events?device=${encodeURIComponent(name)}`,
      on: {
        'visitor.request': onRequest,
        ...Object.fromEntries(EVENT_TYPES.map((type) => [type, type.startsWith('conn.') ? onConn : onEvent])),
      },
      onState: (state) => {
        // What happened before it was open, or while it was away, is read.
        if (state === 'open') void queries.invalidateQueries({ queryKey: deviceQuery(name).queryKey });
      },
    });
  }, [name, queries]);
}
