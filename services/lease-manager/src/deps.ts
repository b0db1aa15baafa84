import type { Bus } from '@culvert/bus';
import type { Limits } from '@culvert/contracts';
import type { LeaseStore } from '@culvert/lease-store';
import type { Logger } from '@culvert/service-kit';
import type { KeptBucket } from './kept-bucket.ts';
import type { KeptRecords } from './kept-records.ts';
import type { KeptRegistry } from './kept-registry.ts';
import type { ManagerMetrics } from './metrics.ts';
import type { PageCuts } from './page-cuts.ts';
import type { Tellers } from './tell.ts';

/** What the lives of this service need of their surroundings. */
export interface ManagerDeps {
  store: LeaseStore;
  /** The operators' part of the store, kept outside of it as well. */
  bucket: KeptBucket;
  kept: KeptRegistry;
  records: KeptRecords;
  bus: Bus;
  limits: Limits;
  log: Logger;
  metrics: ManagerMetrics;
  tellers: Tellers;
  cuts: PageCuts;
  /** Host names of devices stand below it. */
  domain: string;
}
