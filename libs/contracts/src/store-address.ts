/** Where the lease store is: one Redis, or whichever Redis its sentinels call the primary. */
export type StoreAddress =
  | { kind: 'single'; url: string }
  | {
      kind: 'sentinel';
      sentinels: { host: string; port: number }[];
      /** Under this name the sentinels know the primary. */
      name: string;
      /** Of Redis; sentinels are asked without. */
      user?: string;
      password?: string;
    };

export const STORE_ADDRESS_FORMS =
  'redis://[user:password@]host[:port][/db], the same with rediss:, or redis+sentinel://[user:password@]host[:port],host[:port].../<name of the primary>';

const SENTINEL = /^redis\+sentinel:\/\/(?:([^@/?#]*)@)?([^@/?#]+)\/([A-Za-z0-9._-]+)$/;
const HOST_PORT = /^(?:\[([0-9a-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?$/;
const SENTINEL_PORT = 26_379;

/** Reads the value of CULVERT_REDIS_URL; undefined when it has none of the STORE_ADDRESS_FORMS. */
export function parseStoreAddress(text: string): StoreAddress | undefined {
  if (!text.startsWith('redis+sentinel:')) {
    const good = URL.canParse(text) && /^rediss?:$/.test(new URL(text).protocol) && new URL(text).hostname !== '';
    return good ? { kind: 'single', url: text } : undefined;
  }
  const match = SENTINEL.exec(text);
  if (match === null) return undefined;
  const [, credentials, hosts = '', name = ''] = match;
  const sentinels: { host: string; port: number }[] = [];
  for (const one of hosts.split(',')) {
    const at = HOST_PORT.exec(one);
    const port = Number(at?.[3] ?? SENTINEL_PORT);
    if (at === null || port < 1 || port > 65_535) return undefined;
    sentinels.push({ host: at[1] ?? at[2] ?? '', port });
  }
  const address: StoreAddress = { kind: 'sentinel', sentinels, name };
  const [user = '', ...rest] = (credentials ?? '').split(':');
  try {
    if (user !== '') address.user = decodeURIComponent(user);
    if (rest.length > 0) address.password = decodeURIComponent(rest.join(':'));
  } catch {
    return undefined; // a stray % in the credentials
  }
  return address;
}
