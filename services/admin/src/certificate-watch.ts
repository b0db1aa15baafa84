import type { Records } from '@culvert/bus';
import type { Limits } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import { Gauge, type Registry } from 'prom-client';

export const CERTIFICATE_STATES = ['good', 'expiring', 'expired'] as const;
export type CertificateState = (typeof CERTIFICATE_STATES)[number];

/** `expiring`: within `soonMs`. */
export function stateOfCertificate(notAfter: number, soonMs: number, now = Date.now()): CertificateState {
  if (notAfter <= now) return 'expired';
  return notAfter - now <= soonMs ? 'expiring' : 'good';
}

export interface CertificateWatchDeps {
  records: Pick<Records, 'all'>;
  limits: Pick<Limits, 'CERTIFICATE_SOON_MS' | 'CERTIFICATE_LOOK_MS'>;
  log: Logger;
  registry: Registry;
}

/**
 * Looks through the certificates of devices' own domains, so that one that nobody renewed is noticed before its visitors are
 * warned by their browsers: a metric for alerts, and one line in the log when a domain comes into another state.
 */
export class CertificateWatch {
  readonly #deps: CertificateWatchDeps;
  readonly #domains: Gauge<'state'>;
  #told = new Map<string, CertificateState>();
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: CertificateWatchDeps) {
    this.#deps = deps;
    this.#domains = new Gauge({
      name: 'culvert_domain_certificates',
      help: "Domains of devices' own by the state of their certificates: good, expiring or expired",
      labelNames: ['state'],
      registers: [deps.registry],
    });
    for (const state of CERTIFICATE_STATES) this.#domains.set({ state }, 0);
  }

  start(): void {
    void this.#look();
    this.#timer = setInterval(() => void this.#look(), this.#deps.limits.CERTIFICATE_LOOK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Never rejects: what cannot be read now is read the next time. */
  async #look(): Promise<void> {
    const { records, limits, log } = this.#deps;
    const seen = new Map<string, CertificateState>();
    const counts: Record<CertificateState, number> = { good: 0, expiring: 0, expired: 0 };
    try {
      for await (const { id, value } of records.all('domain')) {
        const { not_after: notAfter } = value.certificate;
        const state = stateOfCertificate(notAfter, limits.CERTIFICATE_SOON_MS);
        counts[state] += 1;
        if (state === 'good') continue;
        seen.set(id, state);
        if (this.#told.get(id) === state) continue;
        const ends = new Date(notAfter).toISOString();
        log.warn({ event: `certificate.${state}`, host: id, device: value.device, ends });
      }
    } catch (err) {
      log.warn({ event: 'certificates.unread', err });
      return;
    }
    this.#told = seen;
    for (const state of CERTIFICATE_STATES) this.#domains.set({ state }, counts[state]);
  }
}
