import { errorOfRefusal } from '@culvert/bus';
import { CulvertError, ENROLL_PATH } from '@culvert/contracts';
import { digestOf, type Handshake, idOfEnrolmentKey, isWellFormedToken, remoteOf } from '@culvert/service-kit';
import { parseEnrolment, renderEnrolled } from '@culvert/wire';
import { type HandshakeDeps, refusalOf } from './handshake.ts';

export const isEnrolment = ({ request }: Handshake): boolean => request.url?.split('?', 1)[0] === ENROLL_PATH;

/** One enrolment: a device that has a key, and a token that it made itself, becomes known. No upgrade: one answer. */
export async function serveEnrolment(
  handshake: Handshake,
  deps: Pick<HandshakeDeps, 'bus' | 'edges' | 'gate' | 'limits' | 'log' | 'metrics'>,
): Promise<void> {
  const { bus, gate, limits, log, metrics } = deps;
  const { request } = handshake;
  const remote = remoteOf(handshake.request, deps.edges);
  const asked = parseEnrolment(request.method ?? '', request.url ?? '', request.headers);
  try {
    gate.enter(remote);
    if (!asked.ok) throw new CulvertError(asked.code, asked.message);
    const key = idOfEnrolmentKey(asked.key);
    gate.present(remote, undefined);
    if (key === undefined) throw new CulvertError('unauthorized', 'the enrolment key is mistyped, or none');
    if (!isWellFormedToken(asked.token)) {
      throw new CulvertError('bad_request', 'Device-Token is not well formed; expected cvd_, 43 random characters, _, checksum');
    }
    const digests = { key_digest: digestOf(asked.key), token_digest: digestOf(asked.token) };
    const reply = await bus
      .request('enrolment.use', { key, device: asked.name, remote, ...digests }, { timeoutMs: limits.ACQUIRE_MS })
      .catch((cause: unknown) => {
        throw new CulvertError('unavailable', 'no lease-manager answered', { cause });
      });
    if (!reply.ok) throw errorOfRefusal(reply);
    gate.right(digests.token_digest);
    metrics.enrolments.inc({ outcome: 'ok' });
    handshake.answer(renderEnrolled(asked.name));
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal.code === 'unauthorized') gate.wrong(remote);
    if (refusal.code === 'internal') log.error({ event: 'enrolment.bug', err: error });
    log.info({ event: 'enrolment.refused', remote, code: refusal.code, message: refusal.message });
    metrics.enrolments.inc({ outcome: refusal.code });
    handshake.refuse(refusal);
  }
}
