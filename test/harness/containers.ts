import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { getContainerRuntimeClient } from 'testcontainers';
import { type Part, System, type SystemInfo } from './client.ts';
import { reservePorts } from './port-blocks.ts';
import { eventually } from './service.ts';

const run = promisify(execFile);
const COMPOSE_DIR = join(import.meta.dirname, '../../deploy/compose');
const UP_MS = 500_000;
const CALL_MS = 180_000;
const PARTS: readonly Part[] = [
  'redis',
  'nats',
  'lease-manager',
  'port-allocator',
  'tcp-listener',
  'ws-ingress',
  'admin',
  'edge',
];

export interface ContainerOptions {
  /** Settings of deploy/compose/.env, and limits (CULVERT_LIMIT_...). */
  env?: Record<string, string>;
  /** How many public TCP ports each of two listeners may have; default 16, for each has a process of Docker's own. */
  tcpPorts?: number;
}

/** Does a Docker engine answer at DOCKER_HOST? Without that variable none is looked for. */
export async function engineAnswers(): Promise<boolean> {
  if (!process.env.DOCKER_HOST) return false;
  return getContainerRuntimeClient().then(
    () => true,
    () => false,
  );
}

/**
 * The whole system as deploy/compose runs it, out of the images that are there, with a project, networks and volumes of its own.
 * Images of servers of others are named by CULVERT_REDIS_IMAGE and CULVERT_NATS_IMAGE, as in deploy/compose.
 */
export class ContainerSystem extends System {
  readonly #project: string;
  readonly #env: Record<string, string>;
  readonly #dir: string;
  readonly #release: () => void;
  /** Of deploy/compose. */
  readonly #files = ['compose.yaml'];
  #info: SystemInfo | undefined;

  private constructor(project: string, env: Record<string, string>, release: () => void) {
    super();
    this.#project = project;
    this.#env = env;
    this.#release = release;
    this.#dir = mkdtempSync(join(tmpdir(), `${project}-`));
    const limits = join(this.#dir, 'limits.env');
    const lines = Object.entries(env).filter(([name]) => name.startsWith('CULVERT_LIMIT_'));
    writeFileSync(limits, lines.map(([name, value]) => `${name}=${value}\n`).join(''));
    this.#env.CULVERT_LIMITS_FILE = limits;
  }

  static async start({ env = {}, tcpPorts = 16 }: ContainerOptions = {}): Promise<ContainerSystem> {
    const ports = await reservePorts(2 * tcpPorts + 6);
    const subnet = 16 + Math.floor(Math.random() * 200);
    const system = new ContainerSystem(
      `culvert-${ports.first}`,
      {
        ...{
          CULVERT_HTTP_PORT: `${ports.first}`,
          CULVERT_HTTPS_PORT: `${ports.first + 1}`,
          CULVERT_ADMIN_PORT: `${ports.first + 2}`,
          CULVERT_PROMETHEUS_PORT: `${ports.first + 3}`,
          CULVERT_TRANSFER_PORT: `${ports.first + 4}`,
          CULVERT_TRANSFER_PORT_2: `${ports.first + 5}`,
        },
        CULVERT_TRANSFER_NAME: '127.0.0.1',
        CULVERT_TCP_PORTS: `${ports.first + 6}-${ports.first + 5 + tcpPorts}`,
        CULVERT_TCP_PORTS_2: `${ports.first + 6 + tcpPorts}-${ports.last}`,
        CULVERT_BACK_NETWORK: `10.213.${subnet}.0/24`,
        CULVERT_FRONT_NETWORK: `10.214.${subnet}.0/24`,
        CULVERT_WATCH_NETWORK: `10.215.${subnet}.0/24`,
        ...env,
      },
      ports.release,
    );
    try {
      await system.compose(['up', '-d', '--no-build'], UP_MS);
      await system.#learn();
      await system.#settled(PARTS);
      return system;
    } catch (error) {
      const logs = await system.compose(['logs', '--tail=20']).catch(() => '');
      await system.stop();
      throw new Error(`the containers do not start: ${(error as Error).message}\n${logs}`, { cause: error });
    }
  }

  get info(): SystemInfo {
    if (this.#info === undefined) throw new Error('the containers are not ready');
    return this.#info;
  }

  get ca(): string {
    return readFileSync(this.caFile, 'utf8');
  }

  protected get caFile(): string {
    return join(this.#dir, 'operator/ca.pem');
  }

  async restartPart(part: Part, signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const id = await this.#idOf(part);
    await run('docker', signal === 'SIGKILL' ? ['kill', id] : ['stop', id], { timeout: CALL_MS });
    await run('docker', ['start', id], { timeout: CALL_MS });
    await this.#settled([part]);
  }

  async stop(): Promise<number | null> {
    await this.endClients();
    await this.compose(
      ['--profile', 'observability', '--profile', 'replicas', 'down', '--volumes', '--remove-orphans', '--timeout', '20'],
      UP_MS,
    );
    this.#release();
    rmSync(this.#dir, { recursive: true, force: true });
    return 0;
  }

  /** What one part has printed. */
  logs(part: Part): Promise<string> {
    return this.compose(['logs', '--no-color', part]);
  }

  /** Starts Prometheus of the profile `observability`; where it answers. */
  async startPrometheus(): Promise<string> {
    await this.compose(['--profile', 'observability', 'up', '-d', '--no-build', '--no-deps', 'prometheus'], UP_MS);
    return `http://127.0.0.1:${this.#env.CULVERT_PROMETHEUS_PORT}`;
  }

  /** Publishes both listeners for transfers past the edge, by the file that deploy/compose has for it. */
  async publishListeners(): Promise<void> {
    this.#files.push('transfers.yaml');
    await this.compose(['--profile', 'replicas', 'up', '-d', '--no-build'], UP_MS);
    await this.#settled(PARTS);
  }

  /** How many connections a container has at one of its own ports. */
  async connectionsAt(service: string, port: number): Promise<number> {
    const read = "for (const name of ['tcp', 'tcp6']) console.log(require('fs').readFileSync('/proc/net/' + name, 'utf8'))";
    const args = ['exec', await this.#idOf(service), '/usr/local/bin/node', '-e', read];
    const { stdout } = await run('docker', args, { timeout: CALL_MS });
    const ours = port.toString(16).toUpperCase().padStart(4, '0');
    return [...stdout.matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ 01 /gm)].filter(([, local]) => local === ours).length;
  }

  /** What an operator's commands find in their environment: COMPOSE is the command for this system. */
  get shell(): Record<string, string> {
    const env = Object.entries(process.env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
    return { ...Object.fromEntries(env), ...this.#env, COMPOSE: ['docker-compose', ...this.#options].join(' ') };
  }

  get #options(): string[] {
    const files = this.#files.flatMap((name) => ['-f', join(COMPOSE_DIR, name)]);
    return [...files, '--project-name', this.#project, '--project-directory', COMPOSE_DIR];
  }

  /** Ids of the containers of a service. */
  async idsOf(service: string): Promise<string[]> {
    // With `-a`, since set-up has ended.
    const filters = ['project', 'service'].map((name, at) => `label=com.docker.compose.${name}=${[this.#project, service][at]}`);
    const { stdout } = await run('docker', ['ps', '-aq', ...filters.flatMap((filter) => ['--filter', filter])], {
      timeout: CALL_MS,
    });
    return stdout.trim().split('\n').filter(Boolean);
  }

  /** Runs docker-compose for this system; resolves with what it printed. */
  async compose(args: readonly string[], ms = CALL_MS): Promise<string> {
    const { stdout } = await run('docker-compose', [...this.#options, ...args], {
      env: { ...process.env, ...this.#env },
      timeout: ms,
      maxBuffer: 64 << 20,
    });
    return stdout;
  }

  async #idOf(service: string): Promise<string> {
    const [id] = await this.idsOf(service);
    if (id === undefined) throw new Error(`${this.#project} has no ${service}`);
    return id;
  }

  async #inspect(service: string): Promise<{ running: boolean; health: string | undefined; address: string }> {
    const { container } = await getContainerRuntimeClient();
    const { State, NetworkSettings } = await container.inspect(container.getById(await this.#idOf(service)));
    const address = NetworkSettings.Networks[`${this.#project}_back`]?.IPAddress ?? '';
    return { running: State.Running, health: State.Health?.Status, address };
  }

  async #isWell(part: Part): Promise<boolean> {
    const { running, health, address } = await this.#inspect(part);
    if (part === 'redis' || part === 'nats') return running && (health ?? 'healthy') === 'healthy';
    const path = part === 'edge' ? '/healthz' : '/readyz';
    return fetch(`http://${address}:9100${path}`, { signal: AbortSignal.timeout(5_000) }).then(
      ({ ok }) => running && ok,
      () => false,
    );
  }

  /** Reads the secrets that the first start made, as an operator does: out of the container of set-up. */
  async #learn(): Promise<void> {
    await run('docker', ['cp', `${await this.#idOf('set-up')}:/secrets/operator`, this.#dir], { timeout: CALL_MS });
    const secret = (name: string): string => readFileSync(join(this.#dir, 'operator', name), 'utf8').trim();
    const nats = new URL(secret('nats-integrator'));
    nats.hostname = (await this.#inspect('nats')).address;
    this.#info = Object.freeze({
      edge: `https://127.0.0.1:${this.#env.CULVERT_HTTPS_PORT}`,
      domain: this.#env.CULVERT_DOMAIN ?? 'culvert.localhost',
      admin: `http://127.0.0.1:${this.#env.CULVERT_ADMIN_PORT}`,
      adminToken: secret('admin-token'),
      nats: nats.href,
    });
  }

  /** Waits until these parts say that they are well. */
  async #settled(parts: readonly Part[]): Promise<void> {
    for (const part of parts) {
      await eventually(`${part} is well`, () => this.#isWell(part), UP_MS);
    }
  }
}
