import type { ServiceName } from './replicas.ts';

/** What `node` is given before a service's program; images and systemd's units say the same. Why: docs/PERFORMANCE.md. */
export const NODE_FLAGS: Partial<Record<ServiceName, readonly string[]>> = {
  // A small young generation, where connections live long and their set-up is much garbage: with V8's default, half as much
  // memory again stays for each device, and collections stop the process four times as long. And a heap that may grow by a fifth
  // only until it is collected: else the garbage of the set-up, as much as devices take themselves, stays with those who do nothing.
  'ws-ingress': ['--max-semi-space-size=2', '--heap-growing-percent=20'],
  // Visitors are short. Where V8 once saw objects of a kind live on, it makes all of that kind old from the start, and whatever
  // they refer to then stays until the whole heap is collected.
  'tcp-listener': ['--no-allocation-site-pretenuring'],
};
