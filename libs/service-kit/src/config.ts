import { LIMITS, type LimitName, type Limits, parseDuration, parseStoreAddress, STORE_ADDRESS_FORMS } from '@culvert/contracts';
import { withSecretFiles } from './secret-files.ts';

/** All faults of a configuration at once, each naming the variable, its value and what would be right. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly faults: readonly string[];
  constructor(faults: readonly string[]) {
    super(
      `${faults.length} setting${faults.length === 1 ? ' is' : 's are'} wrong:\n${faults.map((fault) => `  ${fault}`).join('\n')}`,
    );
    this.faults = faults;
  }
}

export type Env = Readonly<Record<string, string | undefined>>;

/** Reads one setting: its text in, its value or what would have been right out. */
export type Reader<T> = (text: string) => { value: T } | { expected: string };

export interface Setting<T> {
  read: Reader<T>;
  /** Used when the variable is absent or empty; a setting without one is required. */
  fallback?: T;
  /** Never printed. */
  secret?: boolean;
  /** Where only our own services may reach it: a private address in production. */
  internal?: boolean;
}

export const setting = {
  text:
    (pattern = /^.+$/, expected = 'a text'): Reader<string> =>
    (text) =>
      pattern.test(text) ? { value: text } : { expected },
  integer:
    (min: number, max: number): Reader<number> =>
    (text) => {
      const value = Number(text);
      return /^-?[0-9]+$/.test(text) && value >= min && value <= max
        ? { value }
        : { expected: `a whole number from ${min} to ${max}` };
    },
  port: (): Reader<number> => setting.integer(1, 65_535),
  duration:
    (minMs: number, maxMs: number): Reader<number> =>
    (text) => {
      const value = parseDuration(text);
      return value !== undefined && value >= minMs && value <= maxMs
        ? { value }
        : { expected: `a duration such as 30s, 10m or 1h, from ${minMs}ms to ${maxMs}ms` };
    },
  flag: (): Reader<boolean> => (text) => {
    if (text === '1' || text === 'true') return { value: true };
    return text === '0' || text === 'false' ? { value: false } : { expected: '1 or 0' };
  },
  /** `20000-20999`, both ends included. */
  portRange: (): Reader<readonly [number, number]> => (text) => {
    const match = /^([0-9]{1,5})-([0-9]{1,5})$/.exec(text);
    const first = Number(match?.[1]);
    const last = Number(match?.[2]);
    return match !== null && first >= 1 && last <= 65_535 && first <= last
      ? { value: [first, last] as const }
      : { expected: 'a range of ports such as 20000-20999, within 1-65535' };
  },
  url:
    (...protocols: string[]): Reader<string> =>
    (text) => {
      const good = text.split(',').every((one) => URL.canParse(one) && protocols.includes(new URL(one).protocol));
      return good
        ? { value: text }
        : { expected: `a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}` };
    },
  /** Where the lease store is, sentinels included; its parts come from `parseStoreAddress`. */
  storeUrl: (): Reader<string> => (text) =>
    parseStoreAddress(text) === undefined ? { expected: STORE_ADDRESS_FORMS } : { value: text },
  domain: (): Reader<string> => (text) =>
    text.length <= 200 && /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text)
      ? { value: text }
      : { expected: 'a domain name in lower case such as example.com' },
  instanceId: (): Reader<string> =>
    setting.text(/^[a-z0-9][a-z0-9-]{0,62}$/, 'an instance id of a-z, 0-9 and hyphens such as tcp-listener-1'),
};

type Values<S extends Record<string, Setting<unknown>>> = {
  readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never;
};

/**
 * Reads the named variables and every limit out of the environment; secrets out of files as well (`NAME_FILE`).
 * @throws ConfigError that lists all faults, unknown `CULVERT_LIMIT_` names included.
 */
export function loadConfig<S extends Record<string, Setting<unknown>>>(
  settings: S,
  given: Env = process.env,
  moreFaults?: (values: Values<S>, limits: Limits) => string[],
): { values: Values<S>; limits: Limits } {
  const faults: string[] = [];
  const env = withSecretFiles(settings, given, faults);
  const values: Record<string, unknown> = {};
  for (const [name, { read, fallback, secret }] of Object.entries(settings)) {
    const text = env[name];
    if (text === undefined || text === '') {
      if (fallback === undefined) {
        const wanted = read('');
        faults.push(`${name} is not set; expected ${'expected' in wanted ? wanted.expected : 'a value'}`);
      } else values[name] = fallback;
      continue;
    }
    const result = read(text);
    if ('value' in result) values[name] = result.value;
    else faults.push(`${name}=${secret === true ? '(hidden)' : JSON.stringify(text)} is not valid; expected ${result.expected}`);
  }
  const limits = loadLimits(env, faults);
  if (faults.length === 0 && moreFaults !== undefined) faults.push(...moreFaults(values as Values<S>, limits));
  if (faults.length > 0) throw new ConfigError(faults);
  return { values: Object.freeze(values) as Values<S>, limits };
}

/** Adds to `faults` instead of throwing. CULVERT_GRACE, where set, is the default of GRACE_MS. */
export function loadLimits(env: Env, faults: string[]): Limits {
  const limits = {} as Record<LimitName, number>;
  for (const [name, limit] of Object.entries(LIMITS) as [LimitName, (typeof LIMITS)[LimitName]][]) {
    const variable = `CULVERT_LIMIT_${name}`;
    const text = env[variable];
    limits[name] = limit.default;
    if (text === undefined || text === '') continue;
    const value = limit.unit === 'ms' ? (parseDuration(text) ?? Number(text)) : Number(text);
    if (Number.isInteger(value) && value >= limit.min && value <= limit.max) limits[name] = value;
    else {
      const unit =
        limit.unit === 'ms' ? 'milliseconds, or a duration such as 30s,' : limit.unit === 'bytes' ? 'bytes' : 'a whole number';
      faults.push(`${variable}=${JSON.stringify(text)} is not valid; expected ${unit} from ${limit.min} to ${limit.max}`);
    }
  }
  const grace = env.CULVERT_GRACE;
  if (grace !== undefined && grace !== '' && !env.CULVERT_LIMIT_GRACE_MS) {
    const { min, max } = LIMITS.GRACE_MS;
    const result = setting.duration(min, max)(grace);
    if ('value' in result) limits.GRACE_MS = result.value;
    else faults.push(`CULVERT_GRACE=${JSON.stringify(grace)} is not valid; expected ${result.expected}`);
  }
  for (const variable of Object.keys(env)) {
    const name = variable.startsWith('CULVERT_LIMIT_') ? variable.slice('CULVERT_LIMIT_'.length) : undefined;
    if (name !== undefined && !Object.hasOwn(LIMITS, name)) {
      faults.push(`${variable} is not a limit; expected one of those in docs/LIMITS.md`);
    }
  }
  return Object.freeze(limits);
}
