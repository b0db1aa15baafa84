import { randomBytes } from 'node:crypto';
import type { BlockList } from 'node:net';
import type { KeptRecord, Records } from '@culvert/bus';
import { CulvertError, faultOfDeviceName, type Limits, ROOT_OPERATOR, type Role, roleSuffices } from '@culvert/contracts';
import { AddressRates, digestOf, isLoginToken, operatorOfToken, remoteOf, sameDigest, WrongTokens } from '@culvert/service-kit';
import type { FastifyRequest } from 'fastify';
import { loginCookieOf } from './login-cookie.ts';
import { Passwords } from './passwords.ts';

/** Who asks, and what with. */
export interface Operator {
  name: string;
  role: Role;
  /** `login`: a browser that sends its cookie by itself; its writes need more proof. */
  via: 'token' | 'login';
  /** Digest of the token that was presented, or that the login was opened with. */
  tokenDigest: string;
  /** Id of the login; empty for a token. */
  login: string;
}

/** A browser adds it to no request that another site made it send. */
export const WRITE_HEADER = 'culvert-request';
/** Browsers say so themselves. Pages of devices are of the same site as the dashboard, where both are under one domain: SameSite lets them pass. */
const isFromElsewhere = ({ headers }: FastifyRequest): boolean => {
  const from = headers['sec-fetch-site'];
  return from !== undefined && from !== 'same-origin' && from !== 'none';
};
const READS = new Set(['GET', 'HEAD', 'OPTIONS']);
const wrong = (): CulvertError => new CulvertError('unauthorized', 'the token is wrong, or its operator is removed');

/**
 * Finds out who asks and whether they may. The registry is asked every time: whoever was removed is out at the next request.
 * The token of CULVERT_ADMIN_TOKEN needs no registry.
 */
export class Rights {
  readonly #records: Records;
  readonly #root: string;
  readonly #wrong: WrongTokens;
  readonly #edges: BlockList;
  readonly passwords = new Passwords();
  /** Wrong passwords by the name they were tried for. */
  readonly #names: AddressRates;
  /** What passwords are remembered by for as long as this process lives. */
  readonly #secret = randomBytes(32).toString('hex');

  /** `edges`: who says for whom it asks. */
  constructor(
    records: Records,
    rootToken: string,
    limits: Pick<Limits, 'FAILED_TOKENS_PER_ADDRESS' | 'FAILED_PASSWORDS_PER_OPERATOR'>,
    edges: BlockList,
  ) {
    this.#records = records;
    this.#root = digestOf(rootToken);
    this.#wrong = new WrongTokens(limits.FAILED_TOKENS_PER_ADDRESS);
    this.#edges = edges;
    this.#names = new AddressRates(limits.FAILED_PASSWORDS_PER_OPERATOR / 60, limits.FAILED_PASSWORDS_PER_OPERATOR);
  }

  /** @throws CulvertError `unauthorized`, `forbidden`, or `unavailable` when the registry cannot be asked. */
  async check(request: FastifyRequest, wanted: Role): Promise<Operator> {
    const operator = await this.#who(request);
    if (operator.via === 'login' && isFromElsewhere(request)) {
      throw new CulvertError('forbidden', 'a login cookie counts for requests of the dashboard itself only');
    }
    if (operator.via === 'login' && !READS.has(request.method) && request.headers[WRITE_HEADER] === undefined) {
      throw new CulvertError('forbidden', 'a write with a login cookie needs the header Culvert-Request: 1');
    }
    request.operator = operator; // a refusal is told of them, too
    mustHave(operator.role, wanted);
    return operator;
  }

  /** The operator of a token that a request brought. @throws CulvertError `unauthorized`, `unavailable`, `rate_limited` */
  ofToken(request: FastifyRequest, token: string): Promise<Operator> {
    return this.#counted(request, token, () => this.#ofToken(token));
  }

  /** The operator of a name and a password. @throws CulvertError as `ofToken` */
  async ofPassword(request: FastifyRequest, name: string, password: string): Promise<Operator> {
    const retryAfterMs = this.#names.waitMs(name);
    if (retryAfterMs > 0) throw new CulvertError('rate_limited', 'too many wrong passwords for this name', { retryAfterMs });
    return this.#counted(request, `${this.#secret} ${name} ${password}`, async () => {
      const record = faultOfDeviceName(name) === undefined ? await this.#records.get('operator', name) : null;
      const kept = record?.value.password;
      const right = await this.passwords.isRight(password, kept);
      if (record !== null && kept !== undefined && right) {
        return { name, role: record.value.role, via: 'token', tokenDigest: kept.id, login: '' };
      }
      this.#names.take(name);
      throw new CulvertError('unauthorized', 'the name or the password is wrong');
    });
  }

  async #ofToken(token: string): Promise<Operator> {
    const tokenDigest = digestOf(token);
    if (sameDigest(tokenDigest, this.#root)) return { name: ROOT_OPERATOR, role: 'admin', via: 'token', tokenDigest, login: '' };
    const name = operatorOfToken(token);
    if (name === undefined) throw wrong(); // mistyped, or no token at all: nobody is asked
    return { name, role: await this.#roleOf(name, tokenDigest), via: 'token', tokenDigest, login: '' };
  }

  /** Looks again whether somebody who was let in may still do what wants this role. @throws CulvertError as `check` */
  async again(operator: Operator, wanted: Role): Promise<void> {
    if (operator.via === 'login' && (await this.#records.get('login', operator.login)) === null) throw wrong();
    mustHave(await this.#roleOf(operator.name, operator.tokenDigest), wanted);
  }

  async #who(request: FastifyRequest): Promise<Operator> {
    const { authorization } = request.headers;
    const bearer = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
    if (bearer !== undefined) return this.ofToken(request, bearer);
    const cookie = loginCookieOf(request);
    if (authorization !== undefined || cookie === undefined) {
      throw new CulvertError('unauthorized', 'expected Authorization: Bearer <operator token>, or the cookie of a login');
    }
    return this.#counted(request, cookie, () => this.#ofLogin(cookie));
  }

  async #ofLogin(cookie: string): Promise<Operator> {
    if (!isLoginToken(cookie)) throw wrong();
    const id = digestOf(cookie);
    const login: KeptRecord<'login'> | null = await this.#records.get('login', id);
    if (login === null) throw new CulvertError('unauthorized', 'the login is over');
    const { operator: name, token_digest: tokenDigest } = login.value;
    return { name, role: await this.#roleOf(name, tokenDigest), via: 'login', tokenDigest, login: id };
  }

  /** Wrong tokens of an address are counted, so that nobody tries them by the thousand. */
  async #counted(request: FastifyRequest, secret: string, look: () => Promise<Operator>): Promise<Operator> {
    const from = remoteOf(request.raw, this.#edges);
    const digest = digestOf(secret);
    this.#wrong.present(from, digest);
    try {
      const operator = await look();
      this.#wrong.right(digest);
      return operator;
    } catch (error) {
      if (error instanceof CulvertError && error.code === 'unauthorized') this.#wrong.wrong(from);
      throw error;
    }
  }

  async #roleOf(name: string, tokenDigest: string): Promise<Role> {
    if (name === ROOT_OPERATOR) {
      if (sameDigest(tokenDigest, this.#root)) return 'admin';
      throw wrong();
    }
    const record = await this.#records.get('operator', name);
    const digests = [...(record?.value.tokens ?? []).map(({ digest }) => digest), record?.value.password?.id ?? ''];
    const known = digests.some((digest) => sameDigest(digest, tokenDigest));
    if (record === null || !known) throw wrong();
    return record.value.role;
  }
}

function mustHave(role: Role, wanted: Role): void {
  if (!roleSuffices(role, wanted)) throw new CulvertError('forbidden', `this needs the role ${wanted}; yours is ${role}`);
}
