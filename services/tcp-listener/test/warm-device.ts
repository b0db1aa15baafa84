import { WebSocket } from 'ws';
import { eventually } from '../../../test/harness/service.ts';
import { LISTENER, TOKEN, type World } from './world.ts';

export interface Refusal {
  status: number;
  retryAfter: number;
  code: string;
}

/** A warm transfer as a device holds it, honest or not: everything it says is said by the test. */
export class WarmDevice {
  readonly ws: WebSocket;
  /** Texts as `type id`, data as `data <text>`, END as `end`. */
  readonly seen: string[] = [];
  closed: { code: number; reason: string } | undefined;
  /** What it does with the next visitor; by default nothing. */
  onAssign: (id: string) => void = () => {};
  onData: (data: Buffer) => void = () => {};
  onEnd: () => void = () => {};
  #open = false;
  #refusal: Refusal | undefined;
  #id = '';

  constructor(world: World, token = TOKEN, listener = LISTENER, headers: Record<string, string> = {}) {
    const url = `ws://${world.at.host}:${world.at.port}/v1/transfer/${listener}?warm=1`;
    const all = { authorization: `Bearer ${token}`, ...headers };
    this.ws = new WebSocket(url, 'culvert.v1', { headers: all, perMessageDeflate: false });
    this.ws.on('open', () => {
      this.#open = true;
    });
    this.ws.on('unexpected-response', (request, response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => {
        const { code } = JSON.parse(body) as { code: string };
        this.#refusal = { status: response.statusCode ?? 0, retryAfter: Number(response.headers['retry-after'] ?? -1), code };
        request.destroy();
      });
    });
    this.ws.on('message', (data: Buffer, isBinary) => this.#onMessage(data, isBinary));
    this.ws.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
    });
    this.ws.on('error', () => {});
  }

  /** Opens one that must be granted, through these workers of an edge. */
  static async open(world: World, generation = ''): Promise<WarmDevice> {
    const device = new WarmDevice(world, TOKEN, LISTENER, generation === '' ? {} : { 'culvert-edge': generation });
    await eventually('the grant', () => {
      if (device.#refusal !== undefined) throw new Error(`refused: ${JSON.stringify(device.#refusal)}`);
      return device.#open;
    });
    return device;
  }

  refused(): Promise<Refusal> {
    return eventually('the refusal', () => this.#refusal);
  }

  /** Accepts every visitor, echoes its bytes, ends with it and says idle. */
  echo(): this {
    this.onAssign = () => this.say('accepted');
    this.onData = (data) => this.ws.send(data);
    this.onEnd = () => this.end().say('idle');
    return this;
  }

  /** The message names the visitor that was assigned last, unless told another id. */
  say(type: string, fields: Record<string, unknown> = {}): this {
    this.ws.send(JSON.stringify({ type, id: this.#id, ...fields }));
    return this;
  }

  binary(text: string): this {
    this.ws.send(Buffer.from(text));
    return this;
  }

  end(): this {
    this.ws.send(Buffer.alloc(0));
    return this;
  }

  saw(what: string): Promise<true> {
    return eventually(`${what} among ${JSON.stringify(this.seen)}`, () => this.seen.some((one) => one.startsWith(what)));
  }

  close(): Promise<{ code: number; reason: string }> {
    return eventually('the close', () => this.closed);
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    if (!isBinary) {
      const { type, id } = JSON.parse(data.toString()) as { type: string; id: string };
      this.#id = id;
      this.seen.push(`${type} ${id}`);
      this.onAssign(id);
    } else if (data.length === 0) {
      this.seen.push('end');
      this.onEnd();
    } else {
      this.seen.push(`data ${data.toString()}`);
      this.onData(data);
    }
  }
}
