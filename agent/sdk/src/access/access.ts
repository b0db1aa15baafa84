import { CulvertError, DEFAULT_LIMITS, faultOfDeviceName, type Limits } from '@culvert/contracts';
import { dialTransfer, type Transfer } from '@culvert/relay';
import { targetOf } from '../address.ts';
import { faultOfProxy, faultOfServer, faultsOfPins, isToken } from '../options.ts';
import { type AccessSettings, TicketOffice } from './tickets.ts';

export interface AccessOptions {
  /** Origin of the server: `https://culvert.example`, also http. Nothing but this address is ever connected. */
  server: string;
  /** Token of the operator; a function is asked before every connection. */
  token: string | (() => string);
  /** HTTP proxy, as for an agent. */
  proxy?: string | null;
  /** Certificates (PEM) to trust besides those of Node. Certificates are always verified. */
  ca?: string;
  /** The server's key must be one of these (`sha256/<base64 of its SPKI digest>`). */
  pins?: string[];
  limits?: Partial<Limits>;
}

/** Largest binary message we take, in bytes: one read of the relay is one message. */
const MAX_FRAME = DEFAULT_LIMITS.TRANSFER_BUFFER_BYTES;

/** Everything that is wrong with the options, each with what would be right. */
export function faultsOfAccess(options: AccessOptions): string[] {
  const faults: string[] = [];
  const serverFault = faultOfServer(options.server);
  if (serverFault !== undefined) faults.push(serverFault);
  else faults.push(...faultsOfPins({ servers: [options.server], ...(options.pins === undefined ? {} : { pins: options.pins }) }));
  if (typeof options.token === 'string' && !isToken(options.token)) {
    faults.push('the token is empty or holds other characters than A-Z a-z 0-9 . _ ~ + / - =');
  }
  const proxyFault = typeof options.proxy === 'string' ? faultOfProxy(options.proxy) : undefined;
  if (proxyFault !== undefined) faults.push(proxyFault);
  return faults;
}

/** An operator's way to ports of devices: past their public ports, by the server's HTTP(S) address alone. */
export class Access {
  readonly limits: Limits;
  readonly #settings: AccessSettings;
  readonly #office: TicketOffice;

  /** @throws CulvertError `bad_request` that names every faulty option. */
  constructor(options: AccessOptions) {
    const faults = faultsOfAccess(options);
    if (faults.length > 0) throw new CulvertError('bad_request', faults.join('; '));
    const { token } = options;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#settings = {
      server: new URL(options.server),
      token: typeof token === 'string' ? () => token : token,
      proxy: options.proxy,
      ca: options.ca,
      pins: options.pins,
      limits: this.limits,
    };
    this.#office = new TicketOffice(this.#settings);
  }

  /**
   * Is the server there, and does the token suffice to ask for connections? Says whose it is.
   *
   * @throws CulvertError `unauthorized`, `forbidden`, `unavailable`; `bye` when the signal was aborted.
   */
  who(signal: AbortSignal): Promise<{ name: string; role: string }> {
    return this.#office.who(signal);
  }

  /**
   * May we connect, and is the device there? Nothing is connected.
   *
   * @throws CulvertError as `open`, as far as the server knows without asking the device.
   */
  async check(device: string, port: number, signal: AbortSignal): Promise<void> {
    await this.#ticket(device, port, signal);
  }

  /**
   * Connects to a port of a device; resolves once the device has connected to its local target.
   *
   * @throws CulvertError: `device_offline`, `not_allowed`, `local_refused`, `local_timeout`, `dial_timeout`, `busy` for the
   *   device; `unauthorized`, `forbidden`, `not_found`, `unavailable` for the server; `bye` when the signal was aborted.
   */
  async open(device: string, port: number, signal: AbortSignal): Promise<Transfer> {
    const { path, key } = await this.#ticket(device, port, signal);
    const { DIAL_MS, RECONNECTING_MS, HANDSHAKE_MS } = this.limits;
    const target = targetOf(this.#settings, this.#settings.server, `${path}?max_frame=${MAX_FRAME}`, key, signal);
    // The server's own deadlines end it before, and say why.
    return dialTransfer({ ...target, deadlineMs: HANDSHAKE_MS + 2 * DIAL_MS + RECONNECTING_MS }, { limits: this.limits });
  }

  close(): void {
    this.#office.close();
  }

  #ticket(device: string, port: number, signal: AbortSignal): Promise<{ path: string; key: string }> {
    const fault = faultOfDeviceName(device);
    if (fault !== undefined) return Promise.reject(new CulvertError('bad_request', fault));
    return this.#office.ask(device, port, signal);
  }
}
