import type { Limits } from '@culvert/contracts';
import { AddressRates, tooMany, WrongTokens } from '@culvert/service-kit';

const BURST_SECONDS = 3;

/** Who may try: handshakes and wrong tokens of each address are counted here, before anybody on the bus is asked. */
export class Gate extends WrongTokens {
  readonly #handshakes: AddressRates;

  constructor({ HANDSHAKES_PER_ADDRESS: perSecond, FAILED_TOKENS_PER_ADDRESS: perMinute }: Limits) {
    super(perMinute);
    this.#handshakes = new AddressRates(perSecond, perSecond * BURST_SECONDS);
  }

  /** @throws CulvertError `rate_limited` */
  enter(address: string): void {
    if (!this.#handshakes.take(address)) throw tooMany('handshakes', this.#handshakes.waitMs(address));
  }
}
