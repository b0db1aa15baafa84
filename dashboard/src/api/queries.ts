import { queryOptions } from '@tanstack/react-query';
import { ApiError, get } from './client.ts';
import type {
  Access,
  CulvertEvent,
  DeadLetter,
  Device,
  EnrolmentKey,
  Grant,
  Instance,
  KnownOperator,
  Operator,
  Policy,
  ReservedHost,
  Series,
  TcpVisitor,
  Traffic,
  Usage,
  VisitorRequest,
  Webhook,
} from './types.ts';

const at = (name: string, rest = ''): string => `/v1/devices/${encodeURIComponent(name)}${rest}`;
const TRAFFIC_MS = 5_000;
const INSTANCES_MS = 3_000;
const MOST_KEYS = 10_000;

export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: ({ signal }) => get<{ operator: Operator | null }>('/v1/session', signal).then(({ operator }) => operator),
  staleTime: Number.POSITIVE_INFINITY,
});

export const deviceQuery = (name: string) =>
  queryOptions({ queryKey: ['device', name], queryFn: ({ signal }) => get<Device>(at(name), signal) });

export interface Visitors {
  requests: VisitorRequest[];
  tcp: TcpVisitor[];
}

export const visitorsQuery = (name: string) =>
  queryOptions({
    queryKey: ['device', name, 'visitors'],
    queryFn: ({ signal }) => get<Visitors>(at(name, '/visitors?limit=50'), signal),
  });

/** Those that were told since the page is open; nothing is asked for them. */
export const liveVisitorsQuery = (name: string) =>
  queryOptions<Visitors>({ queryKey: ['live-visitors', name], queryFn: () => ({ requests: [], tcp: [] }), enabled: false });

export const historyQuery = (name: string) =>
  queryOptions({
    queryKey: ['device', name, 'history'],
    queryFn: ({ signal }) => get<{ events: CulvertEvent[] }>(at(name, '/events?limit=50'), signal).then(({ events }) => events),
  });

export const deviceTrafficQuery = (name: string) =>
  queryOptions({
    queryKey: ['device', name, 'traffic'],
    queryFn: ({ signal }) => get<Series>(at(name, '/traffic'), signal),
    refetchInterval: TRAFFIC_MS,
  });

export const usageQuery = (name: string) =>
  queryOptions({
    queryKey: ['device', name, 'usage'],
    queryFn: ({ signal }) => get<Usage>(at(name, '/usage?days=7'), signal),
    refetchInterval: 30_000,
  });

export const accessQuery = (name: string) =>
  queryOptions({ queryKey: ['device', name, 'access'], queryFn: ({ signal }) => get<Access>(at(name, '/access'), signal) });

export const grantsQuery = (name: string) =>
  queryOptions({
    queryKey: ['device', name, 'grants'],
    queryFn: ({ signal }) => get<{ grants: Grant[] }>(at(name, '/grants'), signal).then(({ grants }) => grants),
  });

export const policyQuery = (name: string) =>
  queryOptions({ queryKey: ['device', name, 'policy'], queryFn: ({ signal }) => get<Policy>(at(name, '/policy'), signal) });

export const hostsQuery = (name: string) =>
  queryOptions({
    queryKey: ['device', name, 'hosts'],
    queryFn: ({ signal }) => get<{ hosts: ReservedHost[] }>(at(name, '/hosts'), signal).then(({ hosts }) => hosts),
  });

export const trafficQuery = queryOptions({
  queryKey: ['traffic'],
  queryFn: ({ signal }) => get<Traffic>('/v1/traffic', signal),
  refetchInterval: TRAFFIC_MS,
});

export const instancesQuery = queryOptions({
  queryKey: ['instances'],
  queryFn: ({ signal }) => get<{ instances: Instance[] }>('/v1/instances', signal).then(({ instances }) => instances),
  refetchInterval: INSTANCES_MS,
});

export const keysQuery = queryOptions({
  queryKey: ['enrolment-keys'],
  queryFn: async ({ signal }) => {
    const keys: EnrolmentKey[] = [];
    for (let cursor: string | null = ''; cursor !== null && keys.length < MOST_KEYS; ) {
      const path: string = `/v1/enrolment-keys?limit=1000${cursor === '' ? '' : `&cursor=${cursor}`}`;
      const page: { keys: EnrolmentKey[]; cursor: string | null } = await get(path, signal);
      keys.push(...page.keys);
      cursor = page.cursor;
    }
    return keys.sort((a, b) => b.created_at - a.created_at);
  },
});

export const operatorsQuery = queryOptions({
  queryKey: ['operators'],
  queryFn: ({ signal }) => get<{ operators: KnownOperator[] }>('/v1/operators', signal).then(({ operators }) => operators),
});

export const webhooksQuery = queryOptions({
  queryKey: ['webhooks'],
  queryFn: ({ signal }) => get<{ webhooks: Webhook[] }>('/v1/webhooks', signal).then(({ webhooks }) => webhooks),
  refetchInterval: TRAFFIC_MS,
});

export const deadQuery = (id: string) =>
  queryOptions({
    queryKey: ['dead-letters', id],
    queryFn: ({ signal }) => get<{ dead: DeadLetter[] }>(`/v1/webhooks/${id}/dead?limit=100`, signal).then(({ dead }) => dead),
    refetchInterval: TRAFFIC_MS,
  });

/** What was refused is refused again; what did not answer may answer. */
export const mayRetry = (count: number, error: Error): boolean =>
  count < 2 && (!(error instanceof ApiError) || error.status === 0 || error.status === 503);
