import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { freePort } from '../harness/servers.ts';
import { eventually } from '../harness/service.ts';

const START_MS = 120_000;

/**
 * A Kubernetes API server over an etcd of its own, as the only part of a cluster: it admits and keeps objects, and nothing makes
 * pods of them.
 */
export class ApiServer {
  readonly kubeconfig: string;
  readonly #url: string;
  readonly #token: string;
  readonly #dir: string;
  readonly #processes: ChildProcess[];
  readonly #agent = new Agent({ connect: { rejectUnauthorized: false } }); // it signs its certificate itself

  private constructor(dir: string, url: string, token: string, processes: ChildProcess[]) {
    this.#dir = dir;
    this.#url = url;
    this.#token = token;
    this.#processes = processes;
    this.kubeconfig = join(dir, 'kubeconfig');
    const clusters = [{ name: 'test', cluster: { server: url, 'insecure-skip-tls-verify': true } }];
    const contexts = [{ name: 'test', context: { cluster: 'test', user: 'test' } }];
    const users = [{ name: 'test', user: { token } }];
    const config = { apiVersion: 'v1', kind: 'Config', 'current-context': 'test', clusters, contexts, users };
    writeFileSync(this.kubeconfig, JSON.stringify(config), { mode: 0o600 });
  }

  static async start(apiserver: string, etcd: string): Promise<ApiServer> {
    const dir = mkdtempSync(join(tmpdir(), 'culvert-api-'));
    const [clients, peers, port] = [await freePort(), await freePort(), await freePort()];
    const keys = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    const token = randomBytes(16).toString('hex');
    writeFileSync(join(dir, 'private.pem'), keys.privateKey, { mode: 0o600 });
    writeFileSync(join(dir, 'public.pem'), keys.publicKey);
    writeFileSync(join(dir, 'tokens.csv'), `${token},test,test,"system:masters"\n`, { mode: 0o600 });
    mkdirSync(join(dir, 'data'), { mode: 0o700 });
    const store = `http://127.0.0.1:${clients}`;
    const peer = `http://127.0.0.1:${peers}`;
    const options = (given: Record<string, string>): string[] =>
      Object.entries(given).map(([name, value]) => `--${name}=${value}`);
    const run = (command: string, given: Record<string, string>): ChildProcess =>
      spawn(command, options(given), { cwd: dir, stdio: 'ignore', env: { PATH: process.env.PATH, HOME: dir } });
    const processes = [
      run(etcd, {
        ...{ 'data-dir': 'data', 'listen-client-urls': store, 'advertise-client-urls': store, 'listen-peer-urls': peer },
        ...{ 'initial-advertise-peer-urls': peer, 'initial-cluster': `default=${peer}` },
      }),
      run(apiserver, {
        ...{ 'etcd-servers': store, 'bind-address': '127.0.0.1', 'secure-port': String(port), 'cert-dir': 'certificates' },
        'advertise-address': '192.0.2.1', // nobody goes there; where no route leads anywhere it finds none by itself
        ...{ 'service-account-issuer': 'https://kubernetes.test', 'service-account-key-file': 'public.pem' },
        ...{ 'service-account-signing-key-file': 'private.pem', 'token-auth-file': 'tokens.csv' },
        ...{ 'service-cluster-ip-range': '10.0.0.0/16', 'authorization-mode': 'RBAC' },
      }),
    ];
    const server = new ApiServer(dir, `https://127.0.0.1:${port}`, token, processes);
    try {
      await eventually(
        'the API server is ready',
        async () => {
          const ended = processes.find(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null);
          if (ended !== undefined) throw new Error(`${ended.spawnfile} has ended with ${ended.exitCode}`);
          return (await server.ask('GET', '/readyz').catch(() => ({ status: 0 }))).status === 200;
        },
        START_MS,
      );
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /** One request; its body is read as JSON where it is. */
  async ask(method: 'GET' | 'POST', path: string, body?: object): Promise<{ status: number; warnings: string[]; body: never }> {
    const { statusCode, headers, ...answer } = await request(new URL(path, this.#url), {
      method,
      dispatcher: this.#agent,
      headers: { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headersTimeout: 20_000,
      bodyTimeout: 20_000,
    });
    const text = await answer.body.text();
    const warnings = [headers.warning ?? []].flat();
    return { status: statusCode, warnings, body: (text.startsWith('{') ? JSON.parse(text) : text) as never };
  }

  /** What the objects of a kind in a namespace are. */
  async list<T>(path: string): Promise<T[]> {
    const { status, body } = await this.ask('GET', path);
    if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`);
    return (body as { items: T[] }).items;
  }

  async stop(): Promise<void> {
    for (const child of this.#processes.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) continue;
      const exited = new Promise((done) => child.once('exit', done));
      child.kill('SIGKILL'); // nothing of it is kept
      await exited;
    }
    await this.#agent.destroy();
    rmSync(this.#dir, { recursive: true, force: true, maxRetries: 5 });
  }
}
