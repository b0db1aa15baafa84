import { BlockList, isIP } from 'node:net';
import type { Env, Setting } from './config.ts';
import { parseNetwork } from './networks.ts';
import { ownAddressIn } from './own-address.ts';
import { withSecretFiles } from './secret-files.ts';

/** Words of secrets that came with an example rather than out of a random generator. */
const COMMONPLACE = /change.?me|changeit|example|default|password|secret|culvert|admin|test|12345|qwerty|letmein/i;
const LEAST_SECRET = 24;
const LEAST_LETTERS = 8;

const PRIVATE = new BlockList();
for (const text of [
  '127.0.0.0/8',
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '100.64.0.0/10',
  '::1',
  'fc00::/7',
  'fe80::/10',
]) {
  const network = parseNetwork(text);
  if (network !== undefined) PRIVATE.addSubnet(network.address, network.prefix, network.family);
}

/** Is this process to be as strict as on the open internet? CULVERT_PRODUCTION says so, else NODE_ENV. */
export function isProduction(env: Env): boolean {
  const said = env.CULVERT_PRODUCTION;
  if (said !== undefined && said !== '') return said !== '0' && said !== 'false';
  return env.NODE_ENV === 'production';
}

/** What must not be in production, each with the variable and what would be right; secrets are never quoted. */
export function faultsInProduction(settings: Record<string, Setting<unknown>>, given: Env): string[] {
  if (!isProduction(given)) return [];
  const env = withSecretFiles(settings, given);
  return Object.entries(settings).flatMap(([name, { secret, internal, fallback }]) => {
    const text = env[name] || (typeof fallback === 'string' ? fallback : '');
    const fault = secret === true ? faultOfSecret(text) : internal === true ? faultOfHost(text, env) : undefined;
    return fault === undefined ? [] : [`${name} ${fault}`];
  });
}

/** A secret, or the password of a URL; of several servers, that of the first is used for all. */
function faultOfSecret(text: string): string | undefined {
  if (!text.includes('://')) return faultOfWord(text);
  const password = /^[a-z+]+:\/\/[^/@]*:([^/@]+)@/.exec(text)?.[1];
  if (password === undefined) return 'has no user and password; expected them in the URL: anonymous access is for trials only';
  const fault = faultOfWord(decodeURIComponent(password));
  return fault === undefined ? undefined : `has a password that ${fault}`;
}

function faultOfWord(word: string): string | undefined {
  const expected = `expected at least ${LEAST_SECRET} random characters, such as of: openssl rand -base64 32`;
  if (word.length < LEAST_SECRET) return `is ${word.length} characters long; ${expected}`;
  // A long random text may hold a short word by chance; one that is mostly words may not.
  if (COMMONPLACE.test(word) && word.length < LEAST_SECRET * 2 && !/^(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])/.test(word)) {
    return `looks like that of an example; ${expected}`;
  }
  return new Set(word).size < LEAST_LETTERS ? `repeats few characters; ${expected}` : undefined;
}

function faultOfHost(text: string, env: Env): string | undefined {
  const host = ownAddressIn(text) ?? text;
  if (env.CULVERT_ALLOW_PUBLIC_LISTENERS === '1' || host === 'localhost') return undefined;
  const version = isIP(host);
  if (version !== 0 && PRIVATE.check(host, version === 4 ? 'ipv4' : 'ipv6')) return undefined;
  return (
    `is ${JSON.stringify(host)}, where this internal listener may be reached from outside; expected a loopback or private address, ` +
    'or CULVERT_ALLOW_PUBLIC_LISTENERS=1 where a firewall or network policy keeps strangers away'
  );
}
