import type { Bus } from '@culvert/bus';
import type { Rights } from './access/rights.ts';

/** What an operator needs to connect to devices. */
export const ACCESS_ROLE = 'operator';

/** Listeners ask whether the operators whose connections they carry still have the right to them. */
export function serveOperatorChecks(bus: Pick<Bus, 'serve'>, rights: Rights): Promise<void> {
  return bus.serve('0.1.0', {
    'operator.check': async ({ name, token_digest: tokenDigest, login }) => {
      await rights.again({ name, tokenDigest, login, role: ACCESS_ROLE, via: login === '' ? 'token' : 'login' }, ACCESS_ROLE);
      return { ok: true };
    },
  });
}
