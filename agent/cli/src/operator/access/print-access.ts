import type { Destination, LocalResult } from '@culvert/agent';
import { CulvertError } from '@culvert/contracts';

/** One connection is over: a JSON line, or for people a line on standard error when it was not in order. */
export function printAccess(result: LocalResult | CulvertError, to: Destination | undefined, json: boolean): void {
  const time = new Date().toISOString();
  const failed = result instanceof CulvertError;
  if (json) {
    const fields = failed ? { event: 'failed', code: result.code, message: result.message } : { event: 'closed', ...result };
    process.stdout.write(`${JSON.stringify({ time, ...to, ...fields })}\n`);
    return;
  }
  const where = to === undefined ? '' : `${to.device}, port ${to.port}: `;
  if (failed && result.code !== 'bye') process.stderr.write(`${where}${result.message} (${result.code})\n`);
  else if (!failed && result.outcome !== 'ok' && result.outcome !== 'visitor_reset') {
    process.stderr.write(`${where}broke off as ${result.outcome} (${result.sent} bytes sent, ${result.received} received)\n`);
  }
}
