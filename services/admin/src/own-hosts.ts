import { isIP } from 'node:net';
import { CulvertError } from '@culvert/contracts';

const HOST = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** The name as it is kept; none of the operator's domain, where names are given out. @throws CulvertError `bad_request` */
export function checkHost(text: string, domain: string): string {
  const host = text.toLowerCase().replace(/\.$/, '');
  const refuse = (what: string): never => {
    throw new CulvertError('bad_request', `host ${JSON.stringify(text.slice(0, 260))} ${what}`);
  };
  if (!HOST.test(host) || isIP(host) !== 0 || /\.[0-9]+$/.test(host)) {
    refuse('is not valid; expected a DNS name such as shop.example.org, names in other scripts as xn--…');
  }
  if (host === domain) refuse('is the domain of this system; expected a name of the device');
  if (host.endsWith(`.${domain}`)) {
    refuse(`is under ${domain}, where names are given out; reserve one there by PUT /v1/devices/NAME/endpoints/PORT/host`);
  }
  return host;
}
