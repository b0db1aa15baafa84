import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readIfThere, writePrivate } from '../files.ts';
import { get, type HttpAnswer } from '../http.ts';

export const DEMO_NAME = 'demo';
export const DEMO_SERVER = fileURLToPath(new URL('./server.ts', import.meta.url));
export const CULVERT_CLI = fileURLToPath(new URL('../../../../agent/cli/bin/culvert.mjs', import.meta.url));

/** The public side of the demo device. */
export interface DemoAddresses {
  /** URL of its page. */
  url: string;
  host: string;
  /** host:port of its echo; null when the device has none. */
  echo: string | null;
}

interface DeviceView {
  state: string;
  endpoints: { scheme: string; url?: string; host: string; public_port: number }[];
}

/** The demo device as an operator's script would make it: by the REST API. */
export class Demo {
  readonly tokenFile: string;
  readonly #admin: string;
  readonly #adminToken: string;
  readonly #edge: string;
  readonly #ca: string | null;

  constructor(stateDir: string, admin: string, adminToken: string, edge: string, ca: string | null) {
    this.tokenFile = join(stateDir, 'demo.token');
    this.#admin = admin;
    this.#adminToken = adminToken;
    this.#edge = edge;
    this.#ca = ca;
  }

  /** Sees to it that the device exists and that the token file holds its token. */
  async register(): Promise<void> {
    const path = `/v1/devices/${DEMO_NAME}`;
    const there = await this.#call('GET', path);
    if (there.status === 200 && readIfThere(this.tokenFile) !== undefined) return;
    const made =
      there.status === 404
        ? await this.#call('POST', '/v1/devices', { name: DEMO_NAME })
        : await this.#call('POST', `${path}/token`);
    if (made.status !== 201) throw new Error(`the demo device cannot be made: ${made.status} ${made.body}`);
    const { token } = JSON.parse(made.body) as { token: string };
    writePrivate(this.tokenFile, `${token}\n`);
  }

  agentArgs(server: string, webPort: number, echoPort: number): string[] {
    const mappings = [`80=127.0.0.1:${webPort}`, `tcp:7=127.0.0.1:${echoPort}`];
    const trust = this.#ca === null ? [] : ['--ca-file', this.#ca];
    const who = ['--server', server, '--name', DEMO_NAME, '--token-file', this.tokenFile];
    return [CULVERT_CLI, 'agent', ...who, ...trust, '--json', ...mappings];
  }

  /** Where it is reachable; undefined while its page cannot be had through the edge. */
  async reach(): Promise<DemoAddresses | undefined> {
    const answer = await this.#call('GET', `/v1/devices/${DEMO_NAME}`);
    if (answer.status !== 200) return undefined;
    const { state, endpoints } = JSON.parse(answer.body) as DeviceView;
    const web = endpoints.find(({ scheme }) => scheme === 'http');
    if (state !== 'connected' || web?.url === undefined) return undefined;
    const page = await get(this.#edge, { headers: { host: new URL(web.url).host }, ca: this.#ca });
    if (page.status !== 200) return undefined;
    const tcp = endpoints.find(({ scheme }) => scheme === 'tcp');
    return {
      url: web.url.endsWith('/') ? web.url : `${web.url}/`,
      host: web.host,
      echo: tcp === undefined ? null : `${tcp.host}:${tcp.public_port}`,
    };
  }

  #call(method: string, path: string, body?: object): Promise<HttpAnswer> {
    return get(`${this.#admin}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#adminToken}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      timeoutMs: 10_000,
      ca: this.#ca,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }
}
