import type { Socket } from 'node:net';
import type { OperatorUse } from '@culvert/bus';
import {
  CulvertError,
  type Endpoint,
  ERRORS,
  type ErrorCode,
  isErrorCode,
  type Limits,
  type VisitorOutcome,
} from '@culvert/contracts';
import { pipe, Transfer } from '@culvert/relay';
import { digestOf, type Handshake } from '@culvert/service-kit';
import { type AccessHandshake, renderUpgrade } from '@culvert/wire';
import { type AccessTicket, AccessTickets } from './access-tickets.ts';
import type { Device, Visitor } from './device.ts';
import type { Tenures } from './tenures.ts';
import type { Front } from './visitor.ts';

export type ServeVisitor = (socket: Socket, endpoint: Endpoint, device: Device, front: Front) => Promise<void>;

/**
 * Operators' connections to devices, past the public ports. To the device and to everything here they are visitors; what
 * differs is the front: a WebSocket in place of a socket, and a refusal instead of a reset.
 *
 *   ticket claimed --the device has a target--> 101, spliced --both directions ended--> closed
 *        |  \--refused, offline, deadline-----> HTTP refusal with the code
 *        \--the operator leaves---------------> the visitor is gone
 */
export class OperatorVisits {
  readonly #limits: Limits;
  readonly #tenures: Tenures;
  readonly #serve: ServeVisitor;
  readonly #tickets: AccessTickets;

  constructor(limits: Limits, tenures: Tenures, serve: ServeVisitor) {
    this.#limits = limits;
    this.#tenures = tenures;
    this.#serve = serve;
    this.#tickets = new AccessTickets(limits);
  }

  get tickets(): number {
    return this.#tickets.size;
  }

  /** @throws CulvertError when the device is not here, or does not offer the port. */
  admit(wanted: AccessTicket): { ticket: string; expires_ms: number } {
    this.#find(wanted);
    return this.#tickets.issue(wanted);
  }

  /** Who has unused tickets or connections here, each once. */
  operators(): OperatorUse[] {
    const found = new Map<string, OperatorUse>();
    for (const operator of this.#tickets.operators()) found.set(keyOf(operator), operator);
    for (const { operator } of this.#visitors()) if (operator !== undefined) found.set(keyOf(operator), operator);
    return [...found.values()];
  }

  /** The operator has no rights any more: tickets are void, connections are cut; answers how many. */
  dismiss(operator: OperatorUse): number {
    const key = keyOf(operator);
    this.#tickets.revoke((other) => keyOf(other) === key);
    let cut = 0;
    for (const visitor of this.#visitors()) {
      if (visitor.operator === undefined || keyOf(visitor.operator) !== key) continue;
      visitor.end('revoked');
      cut += 1;
    }
    return cut;
  }

  /** @throws CulvertError that says why the connection is refused. */
  serve(handshake: Handshake, asked: AccessHandshake, transfers: Set<Transfer>): void {
    const ticket = this.#tickets.claim(asked.ticket, digestOf(asked.token));
    const { device, endpoint } = this.#find(ticket);
    const { DIAL_MS, RECONNECTING_MS, CLOSE_MS } = this.#limits;
    handshake.admit(2 * DIAL_MS + RECONNECTING_MS + CLOSE_MS); // the visitor's own deadlines end it before
    const [outer, inner] = pipe();
    outer.on('error', () => {});
    handshake.gone.addEventListener('abort', () => outer.destroy(), { once: true });
    let transfer: Transfer | undefined;
    const front: Front = {
      visitor: `operator:${ticket.operator.name}`,
      operator: ticket.operator,
      joined: () => {
        const { socket, head } = handshake;
        if (!handshake.take()) return;
        const answer = renderUpgrade(asked.key);
        const options = { role: 'server', maxFrame: asked.max_frame, head, answer, limits: this.#limits } as const;
        const made: Transfer = new Transfer(socket, { ...options, onGone: () => transfers.delete(made) });
        transfers.add(made);
        transfer = made;
        void made.splice(outer);
      },
      over: (outcome) => {
        const code = codeOf(outcome);
        if (code === undefined) return;
        if (transfer === undefined) handshake.refuse({ code, message: messageOf(code, device, ticket) });
        else transfer.cut(code);
      },
    };
    void this.#serve(inner, endpoint, device, front);
  }

  #visitors(): Visitor[] {
    return [...this.#tenures.devices()].flatMap(({ visitors }) => [...visitors]);
  }

  #find({ device: name, epoch, port, undeclared }: AccessTicket): { device: Device; endpoint: Endpoint } {
    const device = this.#tenures.device(name);
    const tenure = device?.tenure;
    if (device === undefined || tenure === undefined || tenure.state === 'grace' || tenure.epoch < epoch) {
      throw new CulvertError('device_offline', `${name} is not connected`);
    }
    const declared = tenure.ports.find((one) => one.port === port);
    if (declared === undefined && !undeclared) throw new CulvertError('not_allowed', `${name} does not offer port ${port}`);
    // Whatever it speaks, it is passed on as it is: nobody here answers for the device.
    return { device, endpoint: { port, scheme: 'tcp', public_port: declared?.public_port ?? 0 } };
  }
}

const keyOf = ({ name, token_digest, login }: OperatorUse): string => `${name} ${token_digest} ${login}`;

/** Undefined when it ended in order, or the operator's own side broke. */
function codeOf(outcome: VisitorOutcome): ErrorCode | undefined {
  if (outcome === 'ok' || outcome === 'visitor_gone' || outcome === 'visitor_reset') return undefined;
  return isErrorCode(outcome) ? outcome : 'peer_reset';
}

/** Before the 101 only what stands for an HTTP status can be said. */
function messageOf(code: ErrorCode, device: Device, { port }: AccessTicket): string {
  return `${device.name}, port ${port}: ${ERRORS[code].meaning}`;
}
