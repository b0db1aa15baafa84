/** One thing that was looked at. */
export interface Finding {
  /** versions, limits, ports, dns, clock, tls, server or admin. */
  area: string;
  what: string;
  status: 'ok' | 'warning' | 'failed' | 'unknown';
  /** What was found. */
  detail: string;
  /** What to do; empty when nothing is to be done. */
  advice: string;
}

export const ok = (area: string, what: string, detail: string): Finding => ({ area, what, status: 'ok', detail, advice: '' });
export const warning = (area: string, what: string, detail: string, advice: string): Finding => {
  return { area, what, status: 'warning', detail, advice };
};
export const failed = (area: string, what: string, detail: string, advice: string): Finding => {
  return { area, what, status: 'failed', detail, advice };
};
/** It could not be looked at; that is no fault by itself. */
export const unknown = (area: string, what: string, detail: string): Finding => {
  return { area, what, status: 'unknown', detail, advice: '' };
};
