import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './wait.ts';

export const NAME = 'conformance-1';
/** Well-formed for our services too, should somebody look. */
export const TOKEN = 'cvd_conformance-0123456789.abc~DEF_xyz';

export interface AgentSetup {
  server: string;
  /** As in `ports`, each with the local target behind it: `tcp:7=127.0.0.1:4001`. */
  mappings: string[];
  warm?: number;
  inline?: number;
  transfers?: number;
  /** Put into HTTP_PROXY. */
  proxy?: string;
}

/**
 * The agent under test, started by a command line. In its words `{server}`, `{name}`, `{token_file}`, `{ports}`, `{warm}`,
 * `{inline}` and `{transfers}` are replaced, and the word `{mappings}` becomes one word for each. All of it is in the
 * environment too: CULVERT_SERVER, CULVERT_NAME, CULVERT_TOKEN, CULVERT_MAPPINGS (spaces between), CULVERT_WARM,
 * CULVERT_INLINE, CULVERT_TRANSFERS. SIGTERM stops it.
 */
export class AgentProcess {
  readonly #child: ChildProcess;
  readonly #dir: string;
  #output = '';
  #over = false;

  constructor(command: readonly string[], setup: AgentSetup) {
    const { server, mappings, warm = 0, inline = 0, transfers = 256, proxy } = setup;
    this.#dir = mkdtempSync(join(tmpdir(), 'culvert-conformance-'));
    const tokenFile = join(this.#dir, 'token');
    writeFileSync(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
    const words: Record<string, string> = {
      ...{ server, name: NAME, token_file: tokenFile },
      ports: mappings.map((mapping) => mapping.split('=', 1)[0]).join(','),
      ...{ warm: String(warm), inline: String(inline), transfers: String(transfers) },
    };
    const line = command.flatMap((word) =>
      word === '{mappings}' ? mappings : [word.replace(/\{([a-z_]+)\}/g, (whole, key: string) => words[key] ?? whole)],
    );
    this.#child = spawn(line[0] as string, line.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...withoutProxies(process.env),
        ...{ CULVERT_SERVER: server, CULVERT_NAME: NAME, CULVERT_TOKEN: TOKEN, CULVERT_MAPPINGS: mappings.join(' ') },
        ...{ CULVERT_WARM: String(warm), CULVERT_INLINE: String(inline), CULVERT_TRANSFERS: String(transfers) },
        ...(proxy === undefined ? {} : { HTTP_PROXY: proxy, http_proxy: proxy }),
      },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#output = (this.#output + chunk.toString()).slice(-2_000);
      });
    }
    this.#child.on('error', (error) => {
      this.#output += error.message;
      this.#over = true;
    });
    this.#child.on('exit', () => {
      this.#over = true;
    });
  }

  /** The last that it wrote. */
  get output(): string {
    return this.#output.trim();
  }
  get over(): boolean {
    return this.#over;
  }
  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  /** Resident memory in bytes; undefined where there is no /proc. */
  get memory(): number | undefined {
    try {
      const kib = /^VmRSS:\s+([0-9]+) kB/m.exec(readFileSync(`/proc/${this.#child.pid}/status`, 'utf8'))?.[1];
      return kib === undefined ? undefined : Number(kib) * 1024;
    } catch {
      return undefined;
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async kill(): Promise<void> {
    if (!this.#over) {
      this.#child.kill('SIGKILL');
      await until('the end of a killed process', () => this.#over);
    }
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

function withoutProxies(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(https?|no|all)_proxy$|^CULVERT_/i.test(name)));
}
