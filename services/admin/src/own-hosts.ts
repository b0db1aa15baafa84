import { isIP } from 'node:net';
import { CulvertError } from '@culvert/contracts';

const HOST = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** As lease-manager makes them: such a name could be given to another device some day. */
const GENERATED = /^[a-z]+-[a-z]+-[a-z2-7]{6}$/;

/** The name as it is kept, and whether it lies under the operator's domain. @throws CulvertError `bad_request` */
export function checkHost(text: string, domain: string, reserve: boolean): { host: string; reserved: boolean } {
  const host = text.toLowerCase().replace(/\.$/, '');
  const refuse = (what: string): never => {
    throw new CulvertError('bad_request', `host ${JSON.stringify(text.slice(0, 260))} ${what}`);
  };
  if (!HOST.test(host) || isIP(host) !== 0 || /\.[0-9]+$/.test(host)) {
    refuse('is not valid; expected a DNS name such as shop.example.org, names in other scripts as xn--…');
  }
  if (host === domain) refuse('is the domain of this system; expected a name of the device');
  if (!host.endsWith(`.${domain}`)) {
    if (reserve) refuse(`is not under ${domain}; expected such a name to be reserved, or a certificate for this one`);
    return { host, reserved: false };
  }
  if (!reserve) refuse(`is under ${domain}, where names are given out; ask for it to be reserved if that is meant`);
  const label = host.slice(0, -domain.length - 1);
  if (label.includes('.')) refuse(`has more than one label before ${domain}, which its certificate does not cover; expected one`);
  if (GENERATED.test(label)) refuse('looks like a name that is given out by chance; expected another');
  return { host, reserved: true };
}
