import { type Bus, type CommandReply, errorOfRefusal } from '@culvert/bus';
import { CulvertError, type Endpoint, ERRORS, isErrorCode, type Limits } from '@culvert/contracts';
import type { LastWords } from '../device-state.ts';
import type { PublicSide } from '../device-view.ts';
import { viewOfEndpoint } from '../device-view.ts';
import { traceEdge } from './edge.ts';
import { failed, firstFailure, ok, STEPS, type Step, type StepName, skipped, type Trace } from './steps.ts';

export interface TraceDeps {
  bus: Pick<Bus, 'request' | 'requestOf' | 'nc'>;
  limits: Limits;
  side: PublicSide;
  /** Where this machine reaches the edge. */
  edge: URL;
  /** What the events said last of a device; undefined when they cannot be asked. */
  lastWords(device: string): Promise<LastWords | undefined>;
}

type Shown = Extract<CommandReply<'device.show'>, { ok: true }>;
type Lease = NonNullable<Shown['lease']>;
type Traced = Extract<CommandReply<'listener.trace'>, { ok: true }>;
type Edges = Map<number, (state: string | null) => [Step, Step]>;

/**
 * Follows the way of a visitor to each endpoint of a device, and says of every step how long it took or why it fails.
 *
 *   lease --held--> listener, its ports and, at the same time, ingress and control connection --alive--> dial and targets
 *     |                                          \--silent: the rest is skipped
 *     \--no lease, grace, revoked, nobody to ask: the rest is skipped
 *
 * The edge is asked at the same time as the rest. It ends within TRACE_MS.
 * @throws CulvertError `not_found` for an unknown device.
 */
export async function trace(device: string, deps: TraceDeps): Promise<Trace> {
  const at = Date.now();
  const from = performance.now();
  const stepMs = Math.floor(deps.limits.TRACE_MS / 5);
  const [shown, shownMs] = await timed(() =>
    deps.bus.request('device.show', { device }, { timeoutMs: stepMs }).then((reply) => {
      if (reply.ok) return reply;
      throw errorOfRefusal(reply);
    }),
  );
  if (shown instanceof CulvertError && shown.code === 'not_found' && shown.cause === undefined) throw shown;
  const lease = shown instanceof Error ? null : shown.lease;
  const endpoints = lease?.endpoints ?? [];
  const edges: Edges = new Map();
  const [{ shared, own }] = await Promise.all([
    inside(shown, shownMs, stepMs, deps),
    ...endpoints.map(async ({ port, host }) => {
      if (host !== undefined) edges.set(port, await traceEdge(deps.edge, host, stepMs));
    }),
  ]);
  const why = firstFailure(shared)?.detail ?? 'an earlier step failed';
  const views = endpoints.map((endpoint) => {
    const its = own.get(endpoint.port) ?? [skipped('port', why), skipped('target', why)];
    const way = [...(edges.get(endpoint.port)?.(lease?.state ?? null) ?? []), ...shared, ...its].sort(
      (a, b) => STEPS.indexOf(a.step) - STEPS.indexOf(b.step),
    );
    const failure = firstFailure(way);
    return {
      ...{
        port: endpoint.port,
        scheme: endpoint.scheme,
        address: addressOf(endpoint as Endpoint, lease?.listener ?? '', deps.side),
      },
      ...{ ok: failure === null, failure, steps: way },
    };
  });
  const failure = views.find((one) => one.failure !== null)?.failure ?? firstFailure(shared);
  return { device, ok: failure === null, at, ms: Math.round(performance.now() - from), failure, endpoints: views, steps: shared };
}

/** The steps behind the edge: those that all endpoints share, and each one's own. */
interface Inside {
  shared: Step[];
  own: Map<number, Step[]>;
}

async function inside(shown: Shown | Error, ms: number, stepMs: number, deps: TraceDeps): Promise<Inside> {
  const own: Inside['own'] = new Map();
  if (shown instanceof Error) return { shared: unasked(shown, ms), own };
  const { device, lease } = shown;
  if (device.revoked || lease?.state !== 'held') return { shared: await notHeld(shown, ms, deps), own };
  const found = await throughServers(lease, stepMs, deps);
  return { shared: [ok('lease', ms, held(lease)), ...found.shared], own: found.own };
}

const SERVERS: readonly StepName[] = ['listener', 'ingress', 'control', 'dial'];
const rest = (why: string): Step[] => SERVERS.map((step) => skipped(step, why));

function unasked(error: Error, ms: number): Step[] {
  const detail = `nobody can say whether the device has a lease: ${error.message}. Look at NATS and the lease-managers.`;
  return [failed('lease', ms, 'unavailable', detail), ...rest('nobody can say where the device is')];
}

async function notHeld({ device, lease }: Shown, ms: number, deps: TraceDeps): Promise<Step[]> {
  if (device.revoked) {
    return [
      failed('lease', ms, 'revoked', 'the device is revoked; add it again to give it a new token'),
      ...rest('it is revoked'),
    ];
  }
  const words = await deps.lastWords(device.device);
  const why = words === undefined || words.reason === '' ? '' : ` (${words.reason})`;
  const from = words === undefined || words.remote === '' ? '' : `, last from ${words.remote}`;
  let detail: string;
  if (lease === null) {
    const since =
      words === undefined || words.epoch === 0 ? 'it has never connected' : `offline since ${time(words.since)}${why}${from}`;
    detail = `no lease: ${since}. Look at the agent on the device.`;
  } else if (lease.state === 'reconnecting') {
    detail = `lost at ${time(lease.since)}${why}; its visitors are held until ${time(lease.due)}`;
  } else {
    detail = `offline, in grace since ${time(lease.since)}${why}${from}; its names and ports are kept until ${time(lease.due)}. Look at the agent on the device.`;
  }
  return [failed('lease', ms, 'device_offline', detail), ...rest('the device is not connected')];
}

const held = ({ epoch, since, remote }: Lease): string => `held since ${time(since)}, epoch ${epoch}, from ${remote}`;

/** Listener and ingress at the same time, then the dials; the steps that all endpoints share, and each one's own. */
async function throughServers(lease: Lease, stepMs: number, deps: TraceDeps): Promise<Inside> {
  const { device, epoch, listener, ingress } = lease;
  const { bus, limits } = deps;
  const numbers = lease.endpoints.map(({ port }) => port);
  const look = (ports: number[], withinMs: number, timeoutMs: number): Promise<Traced> =>
    bus.requestOf(listener, 'listener.trace', { device, epoch, ports, within_ms: withinMs }, { timeoutMs }).then((reply) => {
      if (reply.ok) return reply;
      throw errorOfRefusal(reply);
    });
  const probeMs = Math.max(stepMs, Math.min(limits.PROBE_MS + 1_000, 2 * stepMs)); // longer than its own silence
  const [[seen, seenMs], [probed, probedMs]] = await Promise.all([
    timed(() => look([], 0, stepMs)),
    timed(async () => {
      const reply = await bus.requestOf(ingress, 'ingress.probe', { device, epoch }, { timeoutMs: probeMs });
      if (!reply.ok) throw errorOfRefusal(reply);
      return reply;
    }),
  ]);
  const atListener = listenerStep(lease, seen, seenMs);
  const [atIngress, control] = controlSteps(lease, probed, probedMs, limits.PROBE_MS);
  const broken = [atListener, atIngress, control].find(({ status }) => status === 'failed');
  const ms = 2 * stepMs;
  const [dialled, dialledMs] =
    broken === undefined ? await timed(() => look(numbers, ms, ms + Math.floor(stepMs / 2))) : [undefined, 0];
  const dial = dialled === undefined ? skipped('dial', broken?.detail ?? '') : dialStep(dialled, dialledMs);
  const own = new Map<number, Step[]>();
  for (const { port, public_port } of lease.endpoints) {
    const bound = seen instanceof Error ? undefined : seen.open.find((one) => one.port === port);
    const target =
      dialled === undefined || dialled instanceof Error ? undefined : dialled.targets.find((one) => one.port === port);
    own.set(port, [
      bound === undefined ? skipped('port', atListener.detail) : portStep(public_port, bound.open, listener),
      target === undefined ? skipped('target', broken?.detail ?? dial.detail) : targetStep(port, target, dial),
    ]);
  }
  return { shared: [atListener, atIngress, control, dial], own };
}

function listenerStep({ listener, epoch }: Lease, seen: Traced | Error, ms: number): Step {
  if (seen instanceof Error) {
    return failed('listener', ms, 'listener_gone', `${listener}, which has its ports, does not answer: ${seen.message}`);
  }
  if (seen.tenure === null) {
    return failed(
      'listener',
      ms,
      'not_bound',
      `${listener} has not bound the ports of the device; it compares itself with the store now and then`,
    );
  }
  if (seen.tenure.epoch !== epoch || seen.tenure.state !== 'held') {
    const { epoch: its, state } = seen.tenure;
    return failed(
      'listener',
      ms,
      'not_bound',
      `${listener} knows the device as ${state} in epoch ${its}, the lease is held in epoch ${epoch}`,
    );
  }
  return ok('listener', ms, `${listener} has bound epoch ${epoch}`);
}

function controlSteps(
  { ingress, epoch }: Lease,
  probed: { alive: boolean; here?: boolean } | Error,
  ms: number,
  probeMs: number,
): [Step, Step] {
  if (probed instanceof Error) {
    const detail = `${ingress}, which has its control connection, does not answer: ${probed.message}`;
    return [failed('ingress', ms, 'ingress_gone', detail), skipped('control', detail)];
  }
  if (!probed.alive && probed.here === false) {
    const detail = `${ingress} has no control connection of epoch ${epoch}: it has just broken, and the lease will follow`;
    return [failed('ingress', ms, 'lease_lost', detail), skipped('control', detail)];
  }
  const here = ok('ingress', ms, `${ingress} has its control connection`);
  if (probed.alive) return [here, ok('control', ms, 'the device answers')];
  const detail = `the device has not answered a ping for ${probeMs} ms: it is frozen, or its network has gone silently`;
  return [here, failed('control', ms, 'control_silent', detail)];
}

const portStep = (publicPort: number, open: boolean, listener: string): Step =>
  open
    ? ok('port', 0, `public port ${publicPort} is open`)
    : failed(
        'port',
        0,
        'port_closed',
        `public port ${publicPort} is not open at ${listener}: it winds down, or another program has the port`,
      );

function dialStep(dialled: Traced | Error, ms: number): Step {
  if (dialled instanceof Error) return failed('dial', ms, 'unavailable', `the listener could not dial: ${dialled.message}`);
  const { code = 'internal', ms: took = ms } = dialled.dial ?? {};
  // A transfer of any endpoint proves it as well.
  const through = dialled.targets.filter((one) => one.code === 'ok' || one.code.startsWith('local_'));
  if (code === 'ok' || through.length > 0) return ok('dial', took, 'a transfer connection of the device arrives');
  const detail =
    code === 'dial_timeout'
      ? 'the device hears the dial, but no transfer connection of it arrives: a proxy or firewall on its way lets only the control connection live'
      : `the dial did not reach the device: ${meaningOf(code)}`;
  return failed('dial', took, code, detail);
}

function targetStep(port: number, { code, ms }: { code: string; ms: number }, dial: Step): Step {
  if (code === 'ok') return ok('target', ms, `the local target of port ${port} accepts`);
  if (dial.status === 'failed') return skipped('target', dial.detail);
  const what: Readonly<Record<string, string>> = {
    local_refused: 'refuses the connection: nothing listens there, or it cannot be reached from the device',
    local_timeout: 'does not answer the connection attempt',
    dial_timeout: 'or the device itself has not answered in time, though other transfers of the device arrive',
    not_allowed: 'is not offered by the agent',
    busy: 'has to wait: the device has as many transfers as it takes',
  };
  return failed('target', ms, code, `the local target of port ${port} ${what[code] ?? `failed: ${meaningOf(code)}`}`);
}

const meaningOf = (code: string): string => (isErrorCode(code) ? ERRORS[code].meaning : code);
const time = (ms: number | null): string => (ms === null ? '-' : `${new Date(ms).toISOString().slice(0, 19)}Z`);

function addressOf(endpoint: Endpoint, listener: string, side: PublicSide): string {
  const { url, host, public_port } = viewOfEndpoint(endpoint, listener, side);
  return url ?? `${host.includes(':') ? `[${host}]` : host}:${public_port}`;
}

/** What it answered or threw, and how many milliseconds it took. */
async function timed<T>(act: () => Promise<T>): Promise<[T | Error, number]> {
  const from = performance.now();
  const result = await act().catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))));
  return [result, performance.now() - from];
}
