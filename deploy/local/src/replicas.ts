import type { Reader } from '@culvert/service-kit';

export const SERVICES = ['lease-manager', 'port-allocator', 'tcp-listener', 'ws-ingress', 'admin'] as const;
export type ServiceName = (typeof SERVICES)[number];
/** How many processes of each service run. */
export type Replicas = Readonly<Record<ServiceName, number>>;

const MOST = 16;
const EXPECTED = `a list such as ws-ingress=2,tcp-listener=2, of ${SERVICES.join(', ')}, each once and with 1 to ${MOST}`;

export const ONE_EACH: Replicas = Object.freeze(
  Object.fromEntries(SERVICES.map((name) => [name, 1])) as Record<ServiceName, number>,
);

/** Reads `ws-ingress=2,tcp-listener=2`; services that are not named have one. */
export const readReplicas: Reader<Replicas> = (text) => {
  const replicas: Record<ServiceName, number> = { ...ONE_EACH };
  const seen = new Set<string>();
  for (const entry of text.split(',')) {
    const match = /^([a-z-]+)=([0-9]{1,2})$/.exec(entry.trim());
    const name = SERVICES.find((service) => service === match?.[1]);
    const count = Number(match?.[2]);
    if (name === undefined || count < 1 || count > MOST || seen.has(name)) return { expected: EXPECTED };
    seen.add(name);
    replicas[name] = count;
  }
  return { value: Object.freeze(replicas) };
};

/** `tcp-listener-1`, `tcp-listener-2`, ... */
export function instanceIds(service: ServiceName, replicas: Replicas): string[] {
  return Array.from({ length: replicas[service] }, (_, index) => `${service}-${index + 1}`);
}
