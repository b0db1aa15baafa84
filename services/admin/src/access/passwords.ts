import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto';
import { CulvertError } from '@culvert/contracts';
import { digestOf } from '@culvert/service-kit';

/** As it is kept: nobody can log in with it. */
export interface KeptPassword {
  salt: string;
  hash: string;
  /** What logins that were opened with it name, as others name the digest of a token. Another password has another. */
  id: string;
  changed_at: number;
}

const SHORTEST = 12;
const LONGEST = 256;
/** 32 MiB and about a tenth of a second for each guess. */
const COST: ScryptOptions = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 1024 ** 2 };
const BYTES = 32;
/** Each takes a thread of Node's four, which others need as well. */
const AT_ONCE = 2;
const MOST_WAITING = 16;
/** What is compared with when there is no password: as long as it takes otherwise, so that nobody learns who is an operator. */
const NONE = { salt: '00', hash: '00'.repeat(BYTES) };

/** What is wrong with a new password, or undefined. */
export function faultOfPassword(password: string): string | undefined {
  const { length } = [...password];
  return length >= SHORTEST && length <= LONGEST
    ? undefined
    : `a password has ${SHORTEST} to ${LONGEST} characters; this one has ${length}`;
}

/** Makes and checks passwords, a few at a time. */
export class Passwords {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  async keep(password: string): Promise<KeptPassword> {
    const salt = randomBytes(16).toString('hex');
    const hash = (await this.#hash(password, salt)).toString('hex');
    return { salt, hash, id: digestOf(randomBytes(BYTES).toString('hex')), changed_at: Date.now() };
  }

  /** Takes equally long when there is none. */
  async isRight(password: string, kept: Pick<KeptPassword, 'salt' | 'hash'> | undefined): Promise<boolean> {
    const { salt, hash } = kept ?? NONE;
    const right = timingSafeEqual(await this.#hash(password, salt), Buffer.from(hash, 'hex'));
    return right && kept !== undefined;
  }

  async #hash(password: string, salt: string): Promise<Buffer> {
    await this.#turn();
    try {
      return await new Promise((resolve, reject) => {
        const text = password.slice(0, 4 * LONGEST).normalize('NFKC');
        scrypt(text, Buffer.from(salt, 'hex'), BYTES, COST, (error, key) => (error === null ? resolve(key) : reject(error)));
      });
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  async #turn(): Promise<void> {
    if (this.#running < AT_ONCE) {
      this.#running += 1;
      return;
    }
    if (this.#waiting.length >= MOST_WAITING)
      throw new CulvertError('rate_limited', 'too many passwords at once', { retryAfterMs: 1_000 });
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}
