import { timingSafeEqual } from 'node:crypto';
import type { RefusedCode } from '@culvert/contracts';
import type { Transfer } from '@culvert/relay';
import type { Device } from './device.ts';

/** Where a dialled transfer is awaited. */
export interface Ticket {
  readonly device: Device;
  attach(transfer: Transfer): void;
  refused(code: RefusedCode): void;
}

/**
 * Where a waiting visitor meets its transfer: by id only, never by order of arrival. An id is good for one transfer, of
 * one device, until whoever awaits it forgets it.
 */
export class Rendezvous {
  readonly #tickets = new Map<string, Ticket>();

  get size(): number {
    return this.#tickets.size;
  }

  expect(id: string, ticket: Ticket): void {
    this.#tickets.set(id, ticket);
  }

  forget(id: string): void {
    this.#tickets.delete(id);
  }

  /** Uses the id up, if the token's digest is one of the device's present tenure. A wrong token leaves the id usable. */
  claim(id: string, digest: string): Ticket | 'not_found' | 'unauthorized' {
    const ticket = this.#tickets.get(id);
    if (ticket === undefined) return 'not_found';
    if (!isTokenOf(ticket.device, digest)) return 'unauthorized';
    this.#tickets.delete(id);
    return ticket;
  }

  /** The device does not take the visitor of this dial. Answers whether anybody still awaited it. */
  refuse(device: string, id: string, code: RefusedCode): boolean {
    const ticket = this.#tickets.get(id);
    if (ticket === undefined || ticket.device.name !== device) return false;
    this.#tickets.delete(id);
    ticket.refused(code);
    return true;
  }
}

function isTokenOf(device: Device, digest: string): boolean {
  const presented = Buffer.from(digest, 'hex');
  let equal = false;
  for (const known of device.digests) {
    if (timingSafeEqual(presented, Buffer.from(known, 'hex'))) equal = true;
  }
  return equal;
}
