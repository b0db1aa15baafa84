import type { Records } from '@culvert/bus';
import type { Limits } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import type { NatsConnection } from '@nats-io/transport-node';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { DeadLetters } from './dead-letters.ts';

export interface WebhookMetrics {
  /** Outcome: ok, or that of post.ts. */
  attempts: Counter<'outcome'>;
  dead: Counter;
}

export interface OwnersDeps {
  /** Of this start of this instance. */
  owner: string;
  nc: NatsConnection;
  records: Records;
  dead: DeadLetters;
  limits: Limits;
  privateAllowed: boolean;
  log: Logger;
  metrics: WebhookMetrics;
}

export function createWebhookMetrics(registry: Registry, owned: () => number): WebhookMetrics {
  const registers = [registry];
  new Gauge({
    name: 'culvert_webhooks_owned',
    help: 'Webhooks that this instance delivers',
    registers,
    collect() {
      this.set(owned());
    },
  });
  return {
    attempts: new Counter({
      name: 'culvert_webhook_attempts_total',
      help: 'Attempts to deliver an event; outcome is ok, refused, redirect, gone, timeout, unreachable or private_address',
      labelNames: ['outcome'],
      registers,
    }),
    dead: new Counter({ name: 'culvert_webhook_dead_total', help: 'Events that were given up', registers }),
  };
}
