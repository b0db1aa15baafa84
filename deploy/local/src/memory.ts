import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readIfThere, writePrivate } from './files.ts';
import type { PortSplit } from './port-split.ts';
import { freePort, takePort } from './ports.ts';

interface Remembered {
  secrets: Record<string, string>;
  ports: Record<string, number>;
  split?: PortSplit;
}

/** What a stack remembers between two starts: secrets, its private ports and the split of the public ones. */
export class Memory {
  readonly #path: string;
  readonly #data: Remembered;

  /** @throws Error that names the file when it cannot be understood. */
  constructor(stateDir: string) {
    this.#path = join(stateDir, 'memory.json');
    const text = readIfThere(this.#path);
    try {
      this.#data = text === undefined ? { secrets: {}, ports: {} } : (JSON.parse(text) as Remembered);
    } catch (cause) {
      throw new Error(`${this.#path} is not what a stack wrote; put it aside and start again with new secrets`, { cause });
    }
  }

  /** 256 random bits, the same at every start. */
  secret(name: string, prefix = ''): string {
    const { secrets } = this.#data;
    secrets[name] ??= prefix + randomBytes(32).toString('base64url');
    return secrets[name];
  }

  /** A free loopback port: the one of the last start, unless another program has it now. */
  async port(name: string): Promise<number> {
    const { ports } = this.#data;
    const last = ports[name];
    const port = last !== undefined && (await takePort(last)) ? last : await freePort(Object.values(ports));
    ports[name] = port;
    return port;
  }

  get split(): PortSplit | undefined {
    return this.#data.split;
  }

  set split(split: PortSplit) {
    this.#data.split = split;
  }

  save(): void {
    writePrivate(this.#path, `${JSON.stringify(this.#data, null, 2)}\n`);
  }
}
