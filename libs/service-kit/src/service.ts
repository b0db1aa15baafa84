import { Bus } from '@culvert/bus';
import type { Limits } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { ConfigError, loadConfig, type Setting, setting } from './config.ts';
import { type Health, serveHealth } from './health.ts';
import { createLogger, type Logger } from './log.ts';
import { FEW_DESCRIPTORS, faultsOfMachine, type MachineNeeds } from './machine.ts';
import { readHost } from './own-address.ts';
import { faultsInProduction } from './production.ts';
import { connectRedis } from './redis.ts';
import { Tracing } from './tracing.ts';
import { observeCommands, watchVitals } from './vitals.ts';

/** Settings that every service has. */
const COMMON = {
  CULVERT_INSTANCE_ID: { read: setting.instanceId() },
  CULVERT_REDIS_URL: { read: setting.storeUrl(), secret: true },
  CULVERT_NATS_URL: { read: setting.url('nats:', 'tls:'), secret: true },
  CULVERT_HEALTH_HOST: { read: readHost, fallback: '127.0.0.1', internal: true },
  /** Refuses secrets that came with an example and internal listeners that strangers may reach; default: NODE_ENV is production. */
  CULVERT_PRODUCTION: { read: setting.flag(), fallback: false },
  CULVERT_HEALTH_PORT: { read: setting.integer(0, 65_535), fallback: 0 },
  /** Base of an OTLP/HTTP collector for traces of visitors; empty: none are made. */
  CULVERT_OTLP_URL: { read: setting.url('http:', 'https:'), fallback: '' },
  CULVERT_LOG_LEVEL: {
    read: setting.text(/^(?:trace|debug|info|warn|error|fatal)$/, 'trace, debug, info, warn, error or fatal'),
    fallback: 'info',
  },
} as const satisfies Record<string, Setting<unknown>>;

/** The store lets a service write the records of ids that contain its name only. */
const faultsOfId = (service: string, id: string): string[] =>
  id.includes(service)
    ? []
    : [`CULVERT_INSTANCE_ID=${JSON.stringify(id)} is not valid; expected an id with ${service} in it, such as ${service}-1`];

/** Whoever asks for the end of the process hears that it was heard. */
const ANSWER_FIRST_MS = 100;

type AllSettings<S extends Record<string, Setting<unknown>>> = typeof COMMON & S;
type ValuesOf<S extends Record<string, Setting<unknown>>> = {
  readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never;
};

export interface ServiceContext<S extends Record<string, Setting<unknown>>> {
  id: string;
  config: ValuesOf<AllSettings<S>>;
  limits: Limits;
  log: Logger;
  redis: Redis;
  bus: Bus;
  health: Health;
  /** Undefined unless CULVERT_OTLP_URL is set. */
  tracing: Tracing | undefined;
  /** Registers what undoes a step; run in reverse order at the stop, each with a share of STOP_MS. */
  onStop(name: string, undo: () => Promise<void> | void): void;
  /** Ends the process as a stop signal would. */
  stop(why: string): void;
}

export interface ServiceDefinition<S extends Record<string, Setting<unknown>>> {
  name: string;
  settings: S;
  /** Faults that show only when several settings are seen together. */
  check?: (values: ValuesOf<AllSettings<S>>, limits: Limits) => string[];
  /** What it wants of the machine; default few descriptors. Less is warned of at the start, and never refused. */
  needs?: (values: ValuesOf<AllSettings<S>>) => MachineNeeds;
  /** Longest stop in milliseconds; default STOP_MS. Services that wind down need longer. */
  stopMs?: (limits: Limits) => number;
  start(context: ServiceContext<S>): Promise<void>;
}

/**
 * The life of a service process: validated settings, connections, start in order, stop in reverse on SIGTERM, SIGINT or
 * the death of whoever started it with an IPC channel. Exit codes: 0 stopped, 1 failed, 2 wrong settings.
 * Once it is ready it tells the parent {ready: true, id, health} by IPC.
 */
export async function runService<S extends Record<string, Setting<unknown>>>(definition: ServiceDefinition<S>): Promise<void> {
  const { name } = definition;
  let loaded: { values: ValuesOf<AllSettings<S>>; limits: Limits };
  try {
    const settings = { ...COMMON, ...definition.settings };
    const check = (given: unknown, bounds: Limits): string[] => [
      ...(definition.check?.(given as never, bounds) ?? []),
      ...faultsOfId(name, (given as ValuesOf<typeof COMMON>).CULVERT_INSTANCE_ID),
      ...faultsInProduction(settings, process.env),
    ];
    loaded = loadConfig(settings, process.env, check) as typeof loaded;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(`${name}: ${error.message}`);
    process.exit(2);
  }
  const { values, limits } = loaded;
  const common = values as ValuesOf<typeof COMMON>;
  const id = common.CULVERT_INSTANCE_ID;
  const log = createLogger(name, id, common.CULVERT_LOG_LEVEL);
  for (const fault of faultsOfMachine(definition.needs?.(values) ?? { descriptors: FEW_DESCRIPTORS }))
    log.warn({ event: 'machine.limit', ...fault }, `${fault.limit} is ${fault.is}; expected ${fault.wanted}: ${fault.advice}`);
  const undos: { name: string; undo: () => Promise<void> | void }[] = [];
  const onStop = (step: string, undo: () => Promise<void> | void): void => void undos.push({ name: step, undo });

  let stopping = false;
  const stop = (why: string, code = 0): void => {
    if (stopping) return;
    stopping = true;
    log.info({ event: 'service.stopping', why });
    const budget = definition.stopMs?.(limits) ?? limits.STOP_MS;
    setTimeout(() => {
      log.error({ event: 'service.stop_timeout', budget });
      process.exit(1);
    }, budget).unref();
    void (async () => {
      for (const { name: step, undo } of undos.reverse()) {
        try {
          await undo();
        } catch (err) {
          log.warn({ event: 'service.stop_step_failed', step, err });
        }
      }
      log.info({ event: 'service.stopped' });
      process.exit(code);
    })();
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));
  if (process.channel !== undefined) process.on('disconnect', () => stop('the parent is gone'));
  process.on('uncaughtException', (err) => {
    log.fatal({ event: 'service.bug', err });
    stop('uncaught exception', 1);
  });

  try {
    const health = await serveHealth(common.CULVERT_HEALTH_HOST, common.CULVERT_HEALTH_PORT, id);
    onStop('health', () => health.close());
    let started = false;
    health.addCheck('start', () => (started ? undefined : 'it is starting'));
    const redis = await connectRedis(common.CULVERT_REDIS_URL, id, log);
    onStop('redis', () => redis.disconnect());
    health.addCheck('redis', () => (redis.status === 'ready' ? undefined : `Redis is ${redis.status}`));
    const bus = await Bus.connect({
      ...{ url: common.CULVERT_NATS_URL, name: id, service: name, log, commandMs: limits.COMMAND_MS },
      observer: observeCommands(health.registry),
    });
    onStop('bus', () => bus.close());
    health.addCheck('nats', () => (bus.connected ? undefined : 'NATS is not connected'));
    watchVitals(health, redis, bus);
    const otlp = common.CULVERT_OTLP_URL;
    const tracing = otlp === '' ? undefined : new Tracing({ url: otlp, service: name, instance: id, log });
    onStop('tracing', () => tracing?.stop());
    await bus.serveInstance(id, {
      'instance.wind_down': () => {
        setTimeout(() => stop('an operator winds it down'), ANSWER_FIRST_MS);
        return { ok: true, pid: process.pid };
      },
    });
    await definition.start({ id, config: values, limits, log, redis, bus, health, tracing, onStop, stop: (why) => stop(why) });
    started = true;
    log.info({ event: 'service.ready', health: health.url });
    process.send?.({ ready: true, id, health: health.url });
  } catch (err) {
    log.fatal({ event: 'service.start_failed', err });
    stop('start failed', 1);
  }
}
